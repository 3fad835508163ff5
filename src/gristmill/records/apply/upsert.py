"""Writing records: one upsert per chunk, in an order that lets concurrent chunks never deadlock.

Every record carries ``(_seq, _ord)``, its job's number and its place in the job. An upsert replaces only what has a
smaller pair, so chunks of plain jobs may run in any order and at the same time, and the table ends the same.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection

from gristmill.datasets.contract import EMBEDDING_COLUMN, Contract
from gristmill.datasets.keys import show_key
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.matrices import vector_column
from gristmill.records.apply.copy_binary import copy_table
from gristmill.records.apply.statements import Statements, find_existing_sql, statements
from gristmill.records.columns import ORD_COLUMN, as_stored, to_parameters
from gristmill.records.errors import KeyExists

# Up to here a direct INSERT … VALUES is faster than COPY into a staging table and a second statement.
DIRECT_ROWS = 200
# Numbers of vectors travel as text in a direct INSERT (9 digits, which name each exactly); from some 16 vectors of 256
# on that costs more than COPY and its second statement.
DIRECT_NUMBERS = 4_000
# No job has this number, so it excludes nothing.
NO_JOB = -1
_KEYS_PER_QUERY = 1000

Vectors = np.ndarray[Any, np.dtype[np.float32]]
Key = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class WriteCounts:
    """succeeded: records that are in the table now. superseded: those that a later one with their key replaced."""

    succeeded: int
    superseded: int


def upsert(
    connection: Connection,
    contract: Contract,
    table: pa.Table,
    embeddings: Vectors | None,
    seq: int,
    first_ord: int,
    mode: Literal["replace", "fail"] = "replace",
) -> WriteCounts:
    """Write the records of a payload to the dataset's table, within the caller's transaction.

    contract: that of the table, in its present version; the payload may come from an earlier one.
    embeddings: float32 of shape (records, dimensions), rows of NaN mean null; or None.
    seq, first_ord: the job's number and the place of the first record in the job. The others follow it one by one,
    unless the payload names each record's place in a column ``_ord``.
    Raises KeyExists under ``mode="fail"`` when a record of another job has one of the keys.
    """
    if table.num_rows == 0:
        return WriteCounts(0, 0)
    if mode == "fail" and contract.key:
        raise_if_existing(connection, contract, table, first_ord, own_seq=seq)
    table, places = split_places(table, first_ord)
    table = with_embeddings(contract, table, embeddings)
    sql = statements(contract, tuple(table.column_names))
    if table.num_rows <= DIRECT_ROWS and table.num_rows * vector_numbers(table) <= DIRECT_NUMBERS:
        written = _insert(connection, contract, sql, table, seq, places)
    elif sql.direct_copy is not None:
        written = _copy(connection, contract, sql.direct_copy, table, seq, places)
    else:
        written = _merge(connection, contract, sql, table, seq, places)
    return WriteCounts(written, table.num_rows - written)


def raise_if_existing(
    connection: Connection, contract: Contract, table: pa.Table, first_record: int, own_seq: int = NO_JOB
) -> None:
    """Raise KeyExists naming the first record of ``table`` whose key is in the dataset's table.

    own_seq: rows that this job wrote do not count.
    """
    head, row, tail = find_existing_sql(contract)
    table, places = split_places(table, first_record)
    keys = keys_of(contract, table)
    parameters = to_parameters(contract, table.select(list(contract.key)))
    for start in range(0, len(keys), _KEYS_PER_QUERY):
        part = parameters[start : start + _KEYS_PER_QUERY]
        values: list[Any] = []
        for place, key in enumerate(part, start):
            values += [place, *key]
        query = head + ", ".join([row] * len(part)) + tail
        found = connection.exec_driver_sql(query, (*values, own_seq)).scalar()
        if found is not None:
            record, shown = places[int(found)].as_py(), show_key(contract, keys[int(found)])
            detail = f"Record {record}: there is a record with the key {shown!r} already, and on_conflict is fail"
            raise KeyExists(detail, record=record, key=shown)


def keys_of(contract: Contract, table: pa.Table) -> list[Key]:
    """Return the canonical key values of each record of a payload; they compare as Postgres orders them."""
    columns = [TYPES[field.type].key_values(table.column(field.name)) for field in contract.key_fields]
    return list(zip(*columns, strict=True))


def with_embeddings(contract: Contract, table: pa.Table, embeddings: Vectors | None) -> pa.Table:
    """Return the table with the vectors as a column of their own, and all vectors as they are stored."""
    if embeddings is not None:
        dimensions = contract.vector_dimensions or embeddings.shape[1]
        table = table.append_column(EMBEDDING_COLUMN, vector_column(embeddings, dimensions))
    return as_stored(contract, table)


def split_places(table: pa.Table, first_ord: int) -> tuple[pa.Table, pa.Array]:
    """Return the columns that are fields, and the place of each record in its job as int64."""
    if ORD_COLUMN in table.column_names:
        return table.drop_columns([ORD_COLUMN]), table.column(ORD_COLUMN).combine_chunks()
    return table, pa.array(np.arange(first_ord, first_ord + table.num_rows, dtype=np.int64))


def _insert(
    connection: Connection, contract: Contract, sql: Statements, table: pa.Table, seq: int, places: pa.Array
) -> int:
    rows = [(*row, seq, place) for row, place in zip(to_parameters(contract, table), places.to_pylist(), strict=True)]
    if contract.key:
        # The last record with a key wins. Rows are locked in the order of their keys, as in every other statement.
        last = dict(zip(keys_of(contract, table), rows, strict=True))
        rows = [last[key] for key in sorted(last)]
    query = sql.insert + ", ".join([sql.row] * len(rows)) + sql.upsert
    return connection.exec_driver_sql(query, tuple(value for row in rows for value in row)).rowcount


def _merge(
    connection: Connection, contract: Contract, sql: Statements, table: pa.Table, seq: int, places: pa.Array
) -> int:
    connection.exec_driver_sql(sql.create)
    table = table.append_column(ORD_COLUMN, places)
    copy_table(connection, sql.copy, table, [contract.column(name) for name in table.column_names])
    return connection.exec_driver_sql(sql.merge, {"seq": seq}).rowcount


def _copy(connection: Connection, contract: Contract, copy: str, table: pa.Table, seq: int, places: pa.Array) -> int:
    table = table.append_column("_seq", pa.array(np.full(table.num_rows, seq, np.int64)))
    table = table.append_column(ORD_COLUMN, places)
    copy_table(connection, copy, table, [contract.column(name) for name in table.column_names])
    return int(table.num_rows)


def vector_numbers(table: pa.Table) -> int:
    """Return how many numbers of vectors one record has."""
    return sum(field.type.list_size for field in table.schema if pa.types.is_fixed_size_list(field.type))
