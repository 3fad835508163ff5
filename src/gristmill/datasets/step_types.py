"""Contract types as the steps of pipelines know them."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.json_members import find_member, split_path
from gristmill.datasets.types import TYPES, FieldType
from gristmill.datasets.where_columns import compile_columns
from gristmill.transforms.expression.tree import scatter
from gristmill.transforms.spec import Column, Columns, Predicate, RowMistake, StepRefused, Types


def bound_types(contract: Contract) -> Types:
    """Return what the steps of a contract know of its types."""
    return _ContractTypes(contract)


def column_of(field: FieldSpec) -> Column:
    """Return a field as steps see it."""
    return Column(field.name, field.type, TYPES[field.type].arrow(field))


def _plain(name: str, type_: str) -> FieldSpec:
    """Return a field that has no limits but those of its type."""
    return FieldSpec.model_validate({"name": name, "type": type_, **TYPES[type_].widest})


@cache
def _plain_types() -> list[str]:
    """Return the names of the types of which no more has to be said than their name."""
    return sorted(name for name, kind in TYPES.items() if not list(kind.check(_plain("plain", name))))


class _ContractTypes:
    """Contract types as steps ask for them; see ``transforms.spec.Types``."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self._fields: dict[Column, FieldSpec] = {}

    def column(self, name: str, type_: str) -> Column:
        if type_ not in _plain_types():
            valid = ", ".join(_plain_types())
            raise KeyError(f"{shorten(type_)} is no type of a column; they are: {valid}")
        return column_of(_plain(name, type_))

    def target(self, name: str) -> Column | None:
        return column_of(self._contract.field(name)) if self._contract.has_field(name) else None

    def values(self, column: Column, values: Sequence[Any], pointers: Sequence[str]) -> pa.Array:
        field, parsed, refused = self._field(column), [], []
        for value, pointer in zip(values, pointers, strict=True):
            try:
                parsed.append(None if value is None else TYPES[field.type].parse(field, value))
            except ValidationError as error:
                code, reason = TYPES[field.type].explain(field, error.errors()[0])
                refused.append(Violation(pointer, code, f"{column.name}: {reason}", field=column.name))
        if refused:
            raise StepRefused(*refused)
        return TYPES[field.type].to_column(field, parsed)

    def read_text(self, column: Column, text: str) -> Any:
        try:
            return TYPES[column.type].from_text(self._field(column), text)
        except ValueError:
            # It is refused, and shown, as the text that it is.
            return text

    def comparable(self, column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
        if not TYPES[column.type].comparable:
            reason = f"Values of the type {column.type} do not compare, and {column.name} is of it"
            raise StepRefused(Violation("/column", "not_comparable", reason, field=column.name))
        return TYPES[column.type].to_compare(values)

    def shown(self, column: Column, values: pa.Array) -> list[Any]:
        kind, field = TYPES[column.type], self._field(column)
        if type(kind).show is FieldType.show and type(kind).from_scalar is FieldType.from_scalar:
            # In columns they are as JSON has them.
            found: list[Any] = values.to_pylist()
            return found
        if pa.types.is_binary(values.type):
            # Bytes that a step has made may be more than any field takes.
            return [None if one is None else kind.show(one) for one in values.to_pylist()]
        return [kind.show(kind.parse(field, kind.from_arrow(field, one))) if one.is_valid else None for one in values]

    def read_texts(self, column: Column, texts: pa.Array, zone: str | None = None) -> tuple[pa.Array, list[RowMistake]]:
        field = self._field(column).model_copy(update={"zone": self.zone(column, zone)})
        kind, mistakes = TYPES[field.type], list[RowMistake]()
        cells, unread = kind.read_cells(field, texts)
        values, marked = kind.check_column(field, cells)
        marked |= unread
        rows = np.flatnonzero(marked)
        if not len(rows):
            return values, mistakes
        # The column cannot judge them: each is read by itself.
        parsed: list[Any] = []
        for row, text in zip(rows.tolist(), texts.filter(pa.array(marked)).to_pylist(), strict=True):
            value = None
            try:
                value = kind.from_text(field, text)
                value = None if value is None else kind.parse(field, value)
            except ValidationError as error:
                mistakes.append(RowMistake(row, *kind.explain(field, error.errors()[0])))
                value = None
            except ValueError as error:
                mistakes.append(RowMistake(row, "not_json", f"{shorten(text)}: {error}"))
            parsed.append(value)
        return scatter(kind.to_column(field, parsed), marked, values), mistakes

    def zone(self, column: Column, given: str | None) -> str | None:
        return given if given is not None else self._field(column).zone

    def scale(self, column: Column) -> int | None:
        field = self._contract.field(column.name) if self._contract.has_field(column.name) else None
        return None if field is None or field.precision is None else field.scale or 0

    @property
    def time_field(self) -> str | None:
        return self._contract.time_field

    @property
    def key(self) -> Sequence[str]:
        return self._contract.key

    @property
    def embedder(self) -> str | None:
        return None if self._contract.embedding is None else self._contract.embedding.embedder

    def member(self, path: str) -> Callable[[Any], Any]:
        try:
            names = split_path(path)
        except ValueError as error:
            reason = f"{shorten(path)} is no path: {error}"
            raise StepRefused(Violation("", "bad_path", reason, field="path")) from error
        return lambda value: find_member(value, names)

    def predicate(self, where: Any, columns: Columns, pointer: str) -> Predicate:
        try:
            return compile_columns(where, tuple(map(self._field, columns.values())), pointer)
        except Invalid as error:
            raise StepRefused(*error.violations) from error

    def _field(self, column: Column) -> FieldSpec:
        """Return the column as a field without limits: what a step makes is validated after the last one."""
        if column not in self._fields:
            self._fields[column] = self._find(column)
        return self._fields[column]

    def _find(self, column: Column) -> FieldSpec:
        fields = (*self._contract.input_columns, *self._contract.output_columns)
        alike = [field for field in fields if field.type == column.type and column_of(field).arrow == column.arrow]
        named = [field for field in alike if field.name == column.name]
        if not named and column.type in _plain_types():
            plain = _plain(column.name, column.type)
            if not alike or column_of(plain).arrow == column.arrow:
                return plain
        # Of a type that a name does not tell, such as a vector that was renamed, any field of that type will do.
        known = (named or alike)[0]
        kept = known.model_dump(include={"type", "zone", "dimensions", "normalize", "stored_as"})
        return FieldSpec(name=column.name, **kept).model_copy(update=TYPES[known.type].widest)
