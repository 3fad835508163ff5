"""The keys of parents and children in the columns of a payload."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pyarrow as pa

from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.parents.spec import LimitSpec
from gristmill.datasets.types import TYPES
from gristmill.records.columns import ORD_COLUMN

# Of so many values Python's set is faster than Arrow's.
_FEW = 50
# Parents of one request that are remembered while it is read.
_MOST_KEYS = 1000


class ParentKeys:
    """The parents that the records of a request name, each with the first record that does, as they are read.

    complete: they are all of them; of more than a thousand of one field none are kept.
    """

    def __init__(self, contract: Contract) -> None:
        self._fields = [contract.field(parent.field) for parent in contract.parents]
        self.places: dict[str, dict[Any, int]] = {field.name: {} for field in self._fields}
        self.complete = True

    def add(self, table: pa.Table, first_record: int) -> None:
        for field in self._fields if self.complete else ():
            places = self.places[field.name]
            for place, key in enumerate(values_of(field, table), first_record):
                if key is not None:
                    places.setdefault(key, place)
            if len(places) > _MOST_KEYS:
                self.complete, self.places = False, {}
                return


@dataclass(frozen=True, slots=True)
class Rows:
    """Records of one chunk. first_record: the place of the first one; the others follow unless the table says theirs.

    placed: whether the place of a row is that of its record, which a pipeline may have changed.
    """

    table: pa.Table
    first_record: int
    seq: int = 0
    placed: bool = True

    def place(self, name: FieldSpec, key: Any) -> int | None:
        """Return the first record in which the field ``name`` is ``key``."""
        if not self.placed:
            return None
        values = values_of(name, self.table)
        if key not in values:
            return None
        return self.place_of(values.index(key))

    def place_of(self, row: int) -> int | None:
        """Return which record of the request a row is, where that is known."""
        if not self.placed:
            return None
        if ORD_COLUMN in self.table.column_names:
            return int(self.table.column(ORD_COLUMN)[row].as_py())
        return self.first_record + row


def values_of(field: FieldSpec, table: pa.Table) -> list[Any]:
    """Return the canonical values of a field, None for null: so it is where the field is younger than the payload."""
    if field.name not in table.column_names:
        return [None] * table.num_rows
    return TYPES[field.type].key_values(table.column(field.name))


def distinct(field: FieldSpec, rows: Sequence[Rows]) -> list[Any]:
    """Return the canonical values of a field that occur, without null."""
    found: set[Any] = set()
    for one in rows:
        if field.name not in one.table.column_names:
            continue
        column = one.table.column(field.name)
        if len(column) > _FEW:
            column = pa.chunked_array([column.unique()])
        found.update(TYPES[field.type].key_values(column))
    found.discard(None)
    return list(found)


def find_place(field: FieldSpec, rows: Sequence[Rows], key: Any) -> int | None:
    """Return the first record of all ``rows`` in which the field is ``key``."""
    return next((place for one in rows if (place := one.place(field, key)) is not None), None)


def keys_of_records(contract: Contract, table: pa.Table) -> list[tuple[Any, ...]]:
    """Return the key of each record; of records without one, their places."""
    if not contract.key:
        return [(row,) for row in range(table.num_rows)]
    return list(zip(*(values_of(field, table) for field in contract.key_fields), strict=True))


def measured(contract: Contract, limit: LimitSpec, table: pa.Table) -> list[Any]:
    """Return what a limit counts of each record, as Postgres gives it: numbers exactly, None for null."""
    if limit.field is None:
        return [1] * table.num_rows
    return [exact(value) for value in values_of(contract.field(limit.field), table)]


def exact(value: Any) -> Any:
    """Return a number as the decimal that its shortest text is, anything else as it is."""
    if isinstance(value, float):
        return Decimal(repr(value))
    return value
