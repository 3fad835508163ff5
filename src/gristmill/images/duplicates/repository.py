"""SQL of near-duplicates: the vectors of a dataset in the order of its key, and the rows of the result."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.core.database import data_relation
from gristmill.datasets.contract import EMBEDDING_COLUMN, SUBMISSION_COLUMNS, Contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.parents.above import attach_above
from gristmill.datasets.types import TYPES
from gristmill.datasets.where import compile_where
from gristmill.kit.identifiers import quote
from gristmill.records.apply.copy_binary import copy_table
from gristmill.records.columns import to_table

# Records that one statement reads, and bytes of their vectors: the longest have 16 KiB.
PAGE_RECORDS = 5000
PAGE_BYTES = 8 * 1024 * 1024
_STAGE = "pg_temp.duplicates"
# What returns the binary form of a vector, by how it is stored.
_SEND = {"vector": "vector_send", "halfvec": "halfvec_send", "bit": "bit_send"}


def read_vectors(connection: Connection, contract: Contract, where: Any) -> Iterator[tuple[pa.Table, list[bytes]]]:
    """Yield the key and the vector, in Postgres' binary form, of the records that have one, in the order of the key."""
    table = record_table(contract)
    vector = table.c[EMBEDDING_COLUMN]
    keys = [table.c[name] for name in contract.key]
    sent: Any = sa.type_coerce(getattr(sa.func, _SEND[contract.vector_storage])(vector), sa.LargeBinary)
    condition = compile_where(where, attach_above(connection, contract, where), table)
    page = max(1, min(PAGE_RECORDS, PAGE_BYTES // (4 * (contract.vector_dimensions or 1))))
    rows = sa.select(*keys, sent).where(vector.is_not(None), condition).order_by(*keys).limit(page)
    after: tuple[Any, ...] | None = None
    while True:
        query = rows
        if after is not None:
            last = [sa.literal(value, key.type) for key, value in zip(keys, after, strict=True)]
            query = rows.where(sa.tuple_(*keys) > sa.tuple_(*last))
        found = connection.execute(query).all()
        if found:
            after = tuple(found[-1][:-1])
            named = [dict(zip(contract.key, row[:-1], strict=True)) for row in found]
            yield to_table(contract.key_fields, named), [bytes(row[-1]) for row in found]
        if len(found) < page:
            return


def write_rows(connection: Connection, contract: Contract, table: pa.Table) -> None:
    """Add rows to the table of a dataset. table: its fields, ``_seq`` and ``_ord``."""
    fields = [*contract.fields, *SUBMISSION_COLUMNS]
    rows = table.select([field.name for field in fields])
    names = ", ".join(quote(field.name) for field in fields)
    target = data_relation(contract.name)
    casts = [TYPES[field.type].cast for field in fields]
    if not any(casts):
        copy_table(connection, f"COPY {target} ({names}) FROM STDIN (FORMAT binary)", rows, fields)
        return
    # A value such as a decimal is copied as text, which only a statement makes a number of.
    stage = ", ".join(f"{quote(field.name)} {TYPES[field.type].staging(field)}" for field in fields)
    connection.exec_driver_sql(f"CREATE TEMP TABLE {_STAGE} ({stage}) ON COMMIT DROP")
    copy_table(connection, f"COPY {_STAGE} ({names}) FROM STDIN (FORMAT binary)", rows, fields)
    values = ", ".join(f"{quote(field.name)}{cast}" for field, cast in zip(fields, casts, strict=True))
    connection.exec_driver_sql(f"INSERT INTO {target} ({names}) SELECT {values} FROM {_STAGE}")  # noqa: S608
