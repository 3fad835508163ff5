"""Which columns of a table make a record as it is shown, and how a row of them becomes JSON."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import sqlalchemy as sa

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract_parser import Contract, FieldSpec
from gristmill.datasets.ddl import record_table
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.kit.time_zones import time_zones

Record = dict[str, Any]
# In place of a zone's name: each field's own.
CONTRACT = "contract"


class RecordShape:
    """fields: names of the fields to show, None for all. embedding: show the vector too. zone: of timestamps: the name
    of a time zone, or CONTRACT for that of each field; None for UTC. also: names of fields that are read and not shown.

    columns: what is to be selected, ``names`` and after them ``also``.
    """

    def __init__(
        self,
        contract: Contract,
        embedding: bool = False,
        fields: Sequence[str] | None = None,
        zone: str | None = None,
        also: Sequence[str] = (),
    ) -> None:
        self.table = record_table(contract)
        columns: list[FieldSpec] = list(contract.fields if fields is None else map(contract.field, fields))
        if embedding and contract.embedding_column is not None:
            columns.append(contract.embedding_column)
        self.names = [column.name for column in columns]
        self.selected = list(dict.fromkeys([*self.names, *also]))
        self.columns: list[sa.Column[Any]] = [self.table.c[name] for name in self.selected]
        # Most fields are shown as they are read: a call for each would be most of the work.
        shown = [(column.name, _shown(column, zone)) for column in columns]
        self._shown = [(name, show) for name, show in shown if show is not None]
        self._kinds = [(column.name, TYPES[column.type]) for column in columns]
        # The calendars of zones are those of Python, on every server.
        self.needs_python = any(_zone(column, zone) and "zone" in TYPES[column.type].limits for column in columns)

    def members(self, table: sa.FromClause) -> list[sa.ColumnElement[Any]]:
        """Return the columns that Postgres makes a record of, as JSON. table: ``columns``, by their names."""
        return [kind.json_member(table.c[name]).label(name) for name, kind in self._kinds]

    def to_records(self, rows: Iterable[Iterable[Any]]) -> list[Record]:
        """Return the records whose values begin ``rows``."""
        if self._shown:
            return [self.to_json(row) for row in rows]
        names = self.names
        return [dict(zip(names, row, strict=False)) for row in rows]

    def to_json(self, row: Iterable[Any]) -> Record:
        """Return the record whose values begin ``row``."""
        record = dict(zip(self.names, row, strict=False))
        for name, show in self._shown:
            value = record[name]
            if value is not None:
                record[name] = show(value)
        return record


def _shown(column: FieldSpec, zone: str | None) -> Callable[[Any], Any] | None:
    kind, name = TYPES[column.type], _zone(column, zone)
    return kind.shown_by if name is None else kind.shown_in(ZoneInfo(name))


def _zone(column: FieldSpec, zone: str | None) -> str | None:
    return column.zone if zone == CONTRACT else zone


def check_zone(zone: str | None, pointer: str) -> str | None:
    """Return ``zone``, which is the name of a time zone or CONTRACT. pointer: where it stands. Raises Invalid."""
    if zone is None or zone == CONTRACT or zone in time_zones():
        return zone
    reason = f"zone={shorten(zone)} is no IANA time zone such as Europe/Berlin, nor {CONTRACT}"
    raise Invalid(reason, [Violation(pointer, "unknown_zone", reason, field="zone")])


def split_names(text: str | None) -> list[str] | None:
    """Return the names in a parameter of a URL: separated by commas."""
    return None if text is None else [name.strip() for name in text.split(",")]


def check_fields(names: Sequence[str] | None, contract: Contract, pointer: str) -> Sequence[str] | None:
    """Return ``names``, which are fields. pointer: where they stand. Raises Invalid for unknown and repeated ones."""
    violations = []
    for index, name in enumerate(names or ()):
        if not contract.has_field(name):
            valid = ", ".join(field.name for field in contract.fields)
            reason = f"There is no field {shorten(name)}; the fields are: {valid[:400]}"
            violations.append(Violation(pointer, "unknown_field", reason, field=name[:80]))
        elif name in (names or ())[:index]:
            violations.append(Violation(pointer, "duplicate", f"fields names {name} twice", field=name))
    if violations:
        raise Invalid(f"fields is not valid: {violations[0].reason}", violations)
    return names
