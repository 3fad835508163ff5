"""Writing records: one upsert for a chunk or for small ones of several jobs, in an order that cannot deadlock.

Every record carries ``(_seq, _ord)``, its job's number and its place in the job. An upsert replaces only what has a
smaller pair, so chunks of plain jobs may run in any order and at the same time, and the table ends the same.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.keys import show_key
from gristmill.datasets.types import TYPES
from gristmill.records.apply.copy_binary import copy_table
from gristmill.records.apply.statements import Statements, find_existing_sql, statements
from gristmill.records.columns import ORD_COLUMN, SEQ_COLUMN, as_stored, to_parameters
from gristmill.records.errors import KeyExists

# Up to here a direct INSERT … VALUES is faster than COPY into a staging table and a second statement.
DIRECT_ROWS = 200
# Numbers of vectors travel as text in a direct INSERT (9 digits, which name each exactly); from some 16 vectors of 256
# on that costs more than COPY and its second statement.
DIRECT_NUMBERS = 4_000
_KEYS_PER_QUERY = 1000

Key = tuple[Any, ...]
Mode = Literal["replace", "fail", "skip"]


@dataclass(frozen=True, slots=True)
class Part:
    """The records of one job's chunk.

    table: columns of the dataset's table, perhaps as an earlier version of the contract had them.
    seq, first_ord: the job's number and the place of the first record in the job. The others follow it one by one,
    unless the table names each record's place in a column ``_ord``.
    """

    table: pa.Table
    seq: int
    first_ord: int


@dataclass(frozen=True, slots=True)
class WriteCounts:
    """succeeded: records that are in the table now. superseded: those that a later one with their key replaced.

    Those of the same job are counted over its chunks: a chunk whose record replaces one of a chunk before it counts
    that as superseded, so that the sums are those of the request.
    """

    succeeded: int
    superseded: int


def upsert(
    connection: Connection, contract: Contract, parts: Sequence[Part], mode: Mode = "replace"
) -> list[WriteCounts]:
    """Write the records of one part, or of one group of ``group_parts``, within the caller's transaction.

    contract: that of the table, in its present version; the payload may come from an earlier one. Returns the counts of
    each part. ``mode="skip"``, of one part alone: a record whose key another one had first is not written, and counts
    as superseded. Raises KeyExists under ``mode="fail"`` when a record of another chunk or job has one of the keys.
    """
    if mode == "fail" and contract.key:
        for part in parts:
            raise_if_existing(connection, contract, part.table, part.first_ord, part.seq)
    table = pa.concat_tables([_numbered(contract, part) for part in parts])
    if table.num_rows == 0:
        return [WriteCounts(0, 0) for _ in parts]
    columns = [contract.column(name) for name in table.column_names]
    fields = table.drop_columns([SEQ_COLUMN, ORD_COLUMN])
    sql = statements(contract, tuple(fields.column_names), mode == "skip")
    if table.num_rows <= DIRECT_ROWS and table.num_rows * vector_numbers(fields) <= DIRECT_NUMBERS:
        written = _insert(connection, contract, sql, table, mode)
    elif sql.direct_copy is not None:
        copy_table(connection, sql.direct_copy, table, columns)
        written = {part.seq: part.table.num_rows for part in parts}
    else:
        connection.exec_driver_sql(sql.create)
        copy_table(connection, sql.copy, table, columns)
        written = {row[0]: row[1] for row in connection.exec_driver_sql(sql.merge)}
    counts = [(part.table.num_rows, written.get(part.seq, 0)) for part in parts]
    return [WriteCounts(succeeded, total - succeeded) for total, succeeded in counts]


def raise_if_existing(
    connection: Connection, contract: Contract, table: pa.Table, first_record: int, seq: int | None = None
) -> None:
    """Raise KeyExists naming the first record of ``table`` whose key is in the dataset's table.

    seq: the job that writes them, of which another chunk may have written the key.
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
        found = connection.exec_driver_sql(query, tuple(values)).one_or_none()
        if found is not None:
            record, shown = places[found[0]].as_py(), show_key(contract, keys[found[0]])
            other = "a record" if found[1] != seq else "another record of this request"
            detail = f"Record {record}: there is {other} with the key {shown!r} already, and on_conflict is fail"
            raise KeyExists(detail, record=record, key=shown)


def raise_if_repeated(contract: Contract, table: pa.Table, records: Sequence[int]) -> None:
    """Raise KeyExists naming the first of ``records`` whose row has the key of a row of another one."""
    pairs = zip(records, keys_of(contract, table), strict=True)
    for record, first, key in repeats(pairs):
        shown = show_key(contract, key)
        detail = f"Record {record}: record {first} has the key {shown!r} too, and on_conflict is fail"
        raise KeyExists(detail, record=record, key=shown)


def repeats(pairs: Iterable[tuple[int, Key]]) -> Iterator[tuple[int, int, Key]]:
    """Yield (record, the first one that has its key, the key) for each record whose key an earlier one has."""
    first: dict[Key, int] = {}
    for record, key in pairs:
        if first.setdefault(key, record) != record:
            yield record, first[key], key


def keys_of(contract: Contract, table: pa.Table) -> list[Key]:
    """Return the canonical key values of each record of a payload; they compare as Postgres orders them."""
    columns = [TYPES[field.type].key_values(table.column(field.name)) for field in contract.key_fields]
    return list(zip(*columns, strict=True))


def split_places(table: pa.Table, first_ord: int) -> tuple[pa.Table, pa.Array]:
    """Return the columns that are fields, and the place of each record in its job as int64."""
    if ORD_COLUMN in table.column_names:
        return table.drop_columns([ORD_COLUMN]), table.column(ORD_COLUMN).combine_chunks()
    return table, pa.array(np.arange(first_ord, first_ord + table.num_rows, dtype=np.int64))


def _numbered(contract: Contract, part: Part) -> pa.Table:
    """Return the columns of a part as they are stored, and the pair of each record: its job and its place in it."""
    fields, places = split_places(part.table, part.first_ord)
    table = as_stored(contract, fields)
    numbers = pa.array(np.full(table.num_rows, part.seq, np.int64))
    return table.append_column(SEQ_COLUMN, numbers).append_column(ORD_COLUMN, places)


def _insert(
    connection: Connection, contract: Contract, sql: Statements, table: pa.Table, mode: Mode
) -> Mapping[int, int]:
    rows = to_parameters(contract, table)
    if contract.key:
        # The last record with a key wins, or the first. Rows are locked in the order of their keys, as everywhere.
        pairs = list(zip(keys_of(contract, table), rows, strict=True))
        one = dict(reversed(pairs) if mode == "skip" else pairs)
        rows = [one[key] for key in sorted(one)]
    query = sql.insert + ", ".join([sql.row] * len(rows)) + sql.upsert
    written = connection.exec_driver_sql(query, tuple(value for row in rows for value in row))
    return Counter(seq for seq, replaced in written if replaced != seq)


def vector_numbers(table: pa.Table) -> int:
    """Return how many numbers of vectors one record has."""
    return sum(field.type.list_size for field in table.schema if pa.types.is_fixed_size_list(field.type))
