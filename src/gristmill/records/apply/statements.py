"""The SQL of writing records, made once for each shape: a contract and the columns that a payload has.

Values never become part of the text; names are those of contracts, quoted.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy.dialects import postgresql

from gristmill.core.database import data_relation
from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.ddl import plain_columns, record_table
from gristmill.datasets.types import TYPES
from gristmill.kit.identifiers import quote

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Statements:
    """SQL for one shape of payload.

    insert: head of a direct INSERT, up to VALUES; row: one row of its placeholders; upsert: its tail, after VALUES,
    which returns for each record that was written the number of its job, and that of the job it replaced or null.
    create, copy, merge: the same by way of a session's staging table, which ``create`` makes and empties; ``merge``
    returns how many records were written of each job, those aside that replaced one of the same job.
    direct_copy: COPY into the dataset's table, or None where keys or casts rule it out.
    """

    insert: str
    row: str
    upsert: str
    create: str
    copy: str
    merge: str
    direct_copy: str | None


@lru_cache(maxsize=512)
def statements(contract: Contract, columns: tuple[str, ...], skip: bool = False) -> Statements:
    """Return the SQL for payloads with ``columns``, written to the table of ``contract``.

    skip: of records with one key the first stays, not the last.
    A column of the contract that the payload lacks (it was added after the records were submitted) becomes null.
    """
    table = data_relation(contract.name)
    names = [quote(name) for name in columns]
    targets = ", ".join([*names, "_seq", "_ord"])
    upsert = _on_conflict(contract, skip)
    stage, definition = _staging([contract.column(name) for name in columns], plain_columns(contract))
    casts = {name: TYPES[contract.column(name).type].cast for name in columns}
    selected = ", ".join([*(f"s.{quote(name)}{casts[name]}" for name in casts), "s._seq", "s._ord"])
    head = f"INSERT INTO {table} AS t ({targets})"
    last = "ASC" if skip else "DESC"
    if contract.key:
        keys = ", ".join(f"s.{quote(name)}{casts[name]}" for name in contract.key)
        select = (
            f"SELECT DISTINCT ON ({keys}) {selected} FROM {stage} AS s ORDER BY {keys}, s._seq {last}, s._ord {last}"  # noqa: S608
        )
    else:
        select = f"SELECT {selected} FROM {stage} AS s"  # noqa: S608
    direct = not contract.key and not any(casts.values())
    returning = " RETURNING t._seq, old._seq AS replaced"
    counted = "count(*) FILTER (WHERE replaced IS DISTINCT FROM _seq)"
    merged = f"WITH written AS ({head} {select}{upsert}{returning})"
    create = f"CREATE TEMP TABLE IF NOT EXISTS {stage} ({definition}) ON COMMIT DELETE ROWS"
    clear = f"DELETE FROM {stage}"  # noqa: S608 - it is empty unless this transaction used it before
    return Statements(
        insert=f"{head} VALUES ",
        row="(" + ", ".join(["%s"] * (len(columns) + 2)) + ")",
        upsert=f"{upsert}{returning}",
        create=f"SET LOCAL work_mem = '64MB'; SET LOCAL statement_timeout = 0; {create}; {clear}",
        copy=f"COPY {stage} ({targets}) FROM STDIN (FORMAT binary)",
        merge=f"{merged} SELECT _seq, {counted} FROM written GROUP BY _seq",  # noqa: S608
        direct_copy=f"COPY {table} ({targets}) FROM STDIN (FORMAT binary)" if direct else None,
    )


def _on_conflict(contract: Contract, skip: bool) -> str:
    """Return the ON CONFLICT clause: the whole record is replaced, and moves to the tail, if it came earlier.

    skip: only by an earlier one of the same job, whose chunks run in any order.
    """
    if not contract.key:
        return ""
    keys = ", ".join(quote(name) for name in contract.key)
    changed = [quote(column.name) for column in contract.columns if column.name not in contract.key] + ["_seq", "_ord"]
    assignments = ", ".join([*(f"{name} = EXCLUDED.{name}" for name in changed), "_batch = NULL"])
    # A new _id takes the row out of every sealed range, so that no vector index is touched.
    wins = (
        "t._seq = EXCLUDED._seq AND t._ord > EXCLUDED._ord"
        if skip
        else "(t._seq, t._ord) < (EXCLUDED._seq, EXCLUDED._ord)"
    )
    return f" ON CONFLICT ({keys}) DO UPDATE SET {assignments}, _id = DEFAULT WHERE {wins}"


def _staging(columns: Sequence[FieldSpec], plain: Sequence[str]) -> tuple[str, str]:
    """Return name and column definitions of the session's staging table; equal shapes share one.

    plain: columns to store in the row itself, as the dataset's table does: vectors out of line would be written and
    read piece by piece.
    """
    parts = [
        f"{quote(column.name)} {TYPES[column.type].staging(column)}{' STORAGE PLAIN' * (column.name in plain)}"
        for column in columns
    ]
    definition = ", ".join([*parts, "_seq bigint", "_ord bigint"])
    digest = hashlib.sha256(definition.encode()).hexdigest()[:24]
    return f"pg_temp.stage_{digest}", definition


@lru_cache(maxsize=512)
def find_existing_sql(contract: Contract) -> tuple[str, str, str]:
    """Return head, one row of placeholders, and tail of the query for the first of some keys that is in the table.

    It returns the place among the keys, and job and place of the record that has the key.
    """
    table = record_table(contract)
    kinds = [table.c[name].type.compile(_DIALECT) for name in contract.key]
    names = [f"k{index}" for index in range(len(contract.key))]
    joined = " AND ".join(f"t.{quote(key)} = v.{name}" for key, name in zip(contract.key, names, strict=True))
    row = "(" + ", ".join(["%s", *(f"%s::{kind}" for kind in kinds)]) + ")"
    tail = f") AS v (place, {', '.join(names)}) JOIN {data_relation(contract.name)} AS t ON {joined} ORDER BY 1 LIMIT 1"
    return "SELECT v.place, t._seq, t._ord FROM (VALUES ", row, tail
