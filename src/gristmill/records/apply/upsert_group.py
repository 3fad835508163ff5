"""Writing the small chunks of several jobs with one statement, as if each had been written by itself."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.records.apply.statements import statements
from gristmill.records.apply.upsert import (
    DIRECT_NUMBERS,
    Key,
    Vectors,
    WriteCounts,
    keys_of,
    split_places,
    vector_numbers,
    with_embeddings,
)
from gristmill.records.columns import to_parameters

# Records in one statement: what all of a message may have.
MOST_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Part:
    """The records of one job. The fields are the arguments of ``write.upsert``."""

    table: pa.Table
    embeddings: Vectors | None
    seq: int
    first_ord: int


@dataclass(slots=True)
class _Group:
    shape: Any
    places: list[int]
    rows: int = 0


def group_parts(contract: Contract, parts: Sequence[Part]) -> list[list[int]]:
    """Return which parts, given in the order of their jobs, one statement can write: their places, group by group.

    Written in this order, the groups leave what the parts would have left one by one, and each part's counts too: no
    key is twice in a group, and what has a key of an earlier part is in a later group than that part.
    """
    groups: list[_Group] = []
    last_group: dict[Key, int] = {}
    for place, part in enumerate(parts):
        keys = set(keys_of(contract, part.table)) if contract.key else set()
        first = max((last_group.get(key, -1) for key in keys), default=-1) + 1
        shape = (part.table.schema, None if part.embeddings is None else part.embeddings.shape[1])
        numbers = vector_numbers(part.table) + (0 if part.embeddings is None else part.embeddings.shape[1])
        most = min(MOST_ROWS, DIRECT_NUMBERS // numbers) if numbers else MOST_ROWS
        rows = part.table.num_rows
        found = next(
            (
                number
                for number in range(first, len(groups))
                if groups[number].shape == shape and groups[number].rows + rows <= most
            ),
            len(groups),
        )
        if found == len(groups):
            groups.append(_Group(shape, []))
        groups[found].places.append(place)
        groups[found].rows += rows
        last_group.update(dict.fromkeys(keys, found))
    return [group.places for group in groups]


def upsert_group(connection: Connection, contract: Contract, parts: Sequence[Part]) -> list[WriteCounts]:
    """Write one group of ``group_parts`` within the caller's transaction; return the counts of each part.

    contract: that of the table, in its present version, whose key is the one that the group was made with.
    """
    rows: list[tuple[Any, ...]] = []
    by_key: dict[Key, tuple[Any, ...]] = {}
    shape: tuple[str, ...] = ()
    for part in parts:
        fields, places = split_places(part.table, part.first_ord)
        table = with_embeddings(contract, fields, part.embeddings)
        shape = tuple(table.column_names)
        own = [
            (*row, part.seq, place)
            for row, place in zip(to_parameters(contract, table), places.to_pylist(), strict=True)
        ]
        if contract.key:
            by_key.update(zip(keys_of(contract, table), own, strict=True))
        else:
            rows += own
    if contract.key:
        # Rows are locked in the order of their keys, as in every other statement.
        rows = [by_key[key] for key in sorted(by_key)]
    written: Counter[int] = Counter()
    if rows:
        sql = statements(contract, shape)
        query = sql.insert + ", ".join([sql.row] * len(rows)) + sql.upsert + " RETURNING t._seq"
        written.update(connection.exec_driver_sql(query, tuple(value for row in rows for value in row)).scalars())
    return [WriteCounts(written[part.seq], part.table.num_rows - written[part.seq]) for part in parts]
