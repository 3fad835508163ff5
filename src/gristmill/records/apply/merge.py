"""Merging: partial records and the records that are there become whole ones, column by column."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.core.errors import Violation
from gristmill.datasets.contract import Contract
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.validators import default_column, expected
from gristmill.records.apply.upsert import Key, keys_of
from gristmill.records.columns import GIVEN_COLUMN, Row, as_stored, to_table, unpack_given
from gristmill.records.etags import LastWrite

Indexes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record that is there: its columns as canonical values, and the write that it is of."""

    values: Row
    written: LastWrite


@dataclass(frozen=True, slots=True)
class Merged:
    """Whole records, one for each key of the payload.

    table: the columns of the dataset. keys: of its rows. last: for each row the place in the payload of the last record
    with its key. new: whether no record was there. given: (rows, columns of the table), whether a record gave it.
    members: for each row the places in the payload of its records.
    """

    table: pa.Table
    keys: Sequence[Key]
    last: Indexes
    new: npt.NDArray[np.bool_]
    given: npt.NDArray[np.bool_]
    members: Sequence[Sequence[int]]

    def filter(self, fits: npt.NDArray[np.bool_]) -> "Merged":
        """Return the rows that the mask names."""
        rows = np.flatnonzero(fits).tolist()
        return Merged(
            self.table.filter(pa.array(fits)),
            [self.keys[row] for row in rows],
            self.last[fits],
            self.new[fits],
            self.given[fits],
            [self.members[row] for row in rows],
        )


def payload_keys(contract: Contract, payload: pa.Table) -> list[Key]:
    """Return the distinct keys in a payload, in the order of the first record with each."""
    return list(dict.fromkeys(keys_of(contract, payload)))


def merge(contract: Contract, sent: Sequence[str], payload: pa.Table, stored: Mapping[Key, StoredRecord]) -> Merged:
    """Return the records of a payload laid over those that are there; of several with one key each field's last wins.

    contract: that of the table now. sent: the names that GIVEN_COLUMN has a bit for.
    """
    places: dict[Key, list[int]] = {}
    for place, key in enumerate(keys_of(contract, payload)):
        places.setdefault(key, []).append(place)
    keys = list(places)
    groups = np.empty(payload.num_rows, np.int64)
    for group, members in enumerate(places.values()):
        groups[members] = group
    given = unpack_given(payload.column(GIVEN_COLUMN), len(sent))
    fields = as_stored(contract, payload.select([name for name in sent if name in payload.column_names]))
    there = [stored[key].values for key in keys if key in stored]
    before = as_stored(contract, to_table(contract.columns, there))
    # Where each key's stored record stands behind the rows of the payload, -1 for none.
    behind = np.full(len(keys), -1, np.int64)
    behind[[place for place, key in enumerate(keys) if key in stored]] = payload.num_rows + np.arange(len(there))
    columns, named = {}, np.zeros((len(keys), len(contract.columns)), np.bool_)
    for index, column in enumerate(contract.columns):
        source = behind
        kind = TYPES[column.type].stored_type(column)
        parts = [pa.nulls(payload.num_rows, kind)]
        if column.name in sent:
            rows = np.flatnonzero(given[:, sent.index(column.name)])
            last = np.full(len(keys), -1, np.int64)
            np.maximum.at(last, groups[rows], rows)
            source, named[:, index] = np.where(last >= 0, last, behind), last >= 0
            parts = fields.column(column.name).chunks
        if column.default is not None:
            # Behind all others: what a new record has that does not give the field.
            parts = [*parts, *before.column(column.name).chunks, default_column(TYPES[column.type], column, 1)]
            source = np.where(source < 0, payload.num_rows + len(there), source)
        else:
            parts = [*parts, *before.column(column.name).chunks]
        both = pa.chunked_array(parts, type=kind)
        columns[column.name] = both.take(pa.array(source, mask=source < 0))
    ends = np.array([members[-1] for members in places.values()], np.int64)
    return Merged(pa.table(columns), keys, ends, behind < 0, named, list(places.values()))


def unfit_records(contract: Contract, merged: Merged, names: Sequence[str]) -> dict[int, list[Violation]]:
    """Return what is missing of new records, by their rows: fields that every record has to give.

    names: of the fields that clients send.
    """
    found: dict[int, list[Violation]] = {}
    positions = {column.name: index for index, column in enumerate(contract.columns)}
    for name in names:
        column = contract.column(name)
        if name not in positions or not column.must_be_given:
            continue
        for row in np.flatnonzero(merged.new & ~merged.given[:, positions[name]]).tolist():
            reason = f"There is no record with this key, and a new one needs {name}: expected "
            reason += expected(TYPES[column.type], column)
            found.setdefault(row, []).append(Violation(f"/{row}/{name}", "missing", reason, field=name))
    return found


def needs_vector(contract: Contract, merged: Merged) -> Any:
    """Return for each row whether its vector has to be made: it is new, or gives what the embedder reads."""
    sources = set(() if contract.embedding is None else contract.embedding.from_ or ())
    indexes = [index for index, column in enumerate(contract.columns) if column.name in sources]
    return merged.new | merged.given[:, indexes].any(axis=1) if sources else np.zeros(len(merged.keys), np.bool_)
