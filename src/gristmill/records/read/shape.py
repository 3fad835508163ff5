"""Which columns of a table make a record as it is shown, and how a row of them becomes JSON."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract_parser import Contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES

Record = dict[str, Any]


class RecordShape:
    """fields: names of the fields to show, None for all. embedding: show the vector too."""

    def __init__(self, contract: Contract, embedding: bool = False, fields: Sequence[str] | None = None) -> None:
        self.table = record_table(contract)
        columns = list(contract.fields if fields is None else map(contract.field, fields))
        if embedding and contract.embedding_column is not None:
            columns.append(contract.embedding_column)
        self.names = [column.name for column in columns]
        self.columns: list[sa.Column[Any]] = [self.table.c[name] for name in self.names]
        self._members = [(column.name, TYPES[column.type].shown_by) for column in columns]

    def to_json(self, row: Sequence[Any]) -> Record:
        """Return the record whose values begin ``row``."""
        return {
            name: value if show is None or value is None else show(value)
            for (name, show), value in zip(self._members, row, strict=False)
        }


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
