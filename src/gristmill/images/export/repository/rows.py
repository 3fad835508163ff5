"""SQL of a chunk: its records, found by their keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.types import TYPES
from gristmill.records.key_list import Key, listed_keys
from gristmill.records.row_bytes import row_bytes


@dataclass(frozen=True, slots=True)
class ExportedRow:
    """A record. cells: as CSV has them, None for null. image: its bytes or its path, None where it has none."""

    cells: list[str | None]
    image: bytes | str | None


def read_sizes(connection: Connection, contract: Contract, keys: Sequence[Key], names: Sequence[str]) -> list[int]:
    """Return about how many bytes the values of each record have, 0 where there is no record."""
    table = record_table(contract)
    listed, same = listed_keys(contract, table, keys)
    size = row_bytes(contract, list(names), table)
    found = connection.execute(sa.select(listed.c.place, size).select_from(listed.join(table, same)))
    sizes = {place: int(size) for place, size in found}
    return [sizes.get(place, 0) for place in range(1, len(keys) + 1)]


def read_rows(
    connection: Connection, contract: Contract, keys: Sequence[Key], names: Sequence[str], image: str
) -> list[ExportedRow | None]:
    """Return the record of each key, None where there is none. names: of the fields whose cells are read."""
    table = record_table(contract)
    listed, same = listed_keys(contract, table, keys)
    cells = [
        sa.cast(TYPES[contract.field(name).type].csv_cell(table.c[name]), sa.Text).label(f"c{place}")
        for place, name in enumerate(names)
    ]
    statement = sa.select(listed.c.place, table.c[image].label("image"), *cells)
    found: dict[int, ExportedRow] = {}
    for row in connection.execute(statement.select_from(listed.join(table, same))):
        value: Any = row[1]
        found[row[0]] = ExportedRow(list(row[2:]), bytes(value) if isinstance(value, memoryview) else value)
    return [found.get(place) for place in range(1, len(keys) + 1)]
