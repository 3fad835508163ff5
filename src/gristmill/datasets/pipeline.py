"""The pipeline of a contract: its steps bound to the columns that clients send, and whether it makes the fields."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import ValidationError

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract import EXTRA_COLUMN, Contract, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.json_members import find_member, split_path
from gristmill.datasets.types import TYPES, FieldType
from gristmill.datasets.where_columns import compile_columns
from gristmill.transforms.expression.tree import scatter
from gristmill.transforms.registry import StepRegistry
from gristmill.transforms.schema_rules import bind
from gristmill.transforms.spec import Column, Columns, Predicate, RowMistake, Step, StepRefused, Types


def bind_pipeline(contract: Contract, registry: StepRegistry) -> list[Step]:
    """Return the steps of a contract, ready to run over its payloads. Raises Invalid if they do not fit."""
    columns = {field.name: column_of(field) for field in contract.input_fields}
    try:
        return bind([step.as_json() for step in contract.pipeline], columns, _ContractTypes(contract), registry)
    except StepRefused as error:
        violations = [_in_contract(violation) for violation in error.violations]
        raise Invalid(f"The pipeline of {contract.name} does not fit: {violations[0].reason}", violations) from error


def without_statistics(step: dict[str, Any]) -> dict[str, Any]:
    """Return a step as its author wrote it, without what a fit has written into it."""
    return {name: value for name, value in step.items() if name != "fitted"}


def check_pipeline(contract: Contract, registry: StepRegistry) -> Iterator[Violation]:
    """Yield what is wrong with ``input``, ``pipeline`` and the computed fields of an otherwise valid contract."""
    try:
        steps = bind_pipeline(contract, registry)
    except Invalid as error:
        yield from error.violations
        return
    unread: dict[str, int] = {}
    for number, step in enumerate(steps):
        yield from _check_writes(contract, number, step)
        yield from _check_unread(number, step, unread)
    columns = steps[-1].columns if steps else {field.name: column_of(field) for field in contract.input_fields}
    sent = {field.name for field in contract.input_fields}
    for place, field in enumerate(contract.fields):
        if field.name == EXTRA_COLUMN:
            # It passes beside the steps.
            continue
        writers = [number for number, step in enumerate(steps) if field.name in step.writes]
        if field.computed and not writers:
            reason = f"{field.name} is computed, and no step of the pipeline fills it"
            yield Violation(f"/fields/{place}/computed", "not_filled", reason, field=field.name)
        elif field.name not in columns:
            yield _not_there(field.name, field.name in sent or bool(writers), steps)
        elif not _fits(columns[field.name], field):
            yield _unfit(columns[field.name], field, f"/pipeline/{writers[-1]}" if writers else f"/fields/{place}")
    for name in contract.key:
        if name not in sent:
            reason = f"The key field {name} must be sent by clients"
            yield Violation(f"/key/{contract.key.index(name)}", "computed_key", reason, field=name)

    multiplying = [number for number, step in enumerate(steps) if step.kind.multiplies]
    if contract.key and multiplying:
        op = steps[multiplying[0]].kind.op
        reason = f"{op} makes several rows of a record, which would all have its key: leave out the key"
        yield Violation(f"/pipeline/{multiplying[0]}", "key_repeated", reason, field="op")
    merging = [number for number, step in enumerate(steps) if step.kind.merges]
    beside = "vectors that clients send" if contract.takes_vectors else EXTRA_COLUMN
    if merging and (contract.takes_vectors or contract.has_field(EXTRA_COLUMN)):
        reason = (
            f"{steps[merging[0]].kind.op} makes one row of several records, and {beside} of one would stand for all"
        )
        yield Violation(f"/pipeline/{merging[0]}", "not_mergeable", reason, field="op")


def _not_there(name: str, was_there: bool, steps: Sequence[Step]) -> Violation:
    """Return the violation of a field that is no column after the last step."""
    if not was_there:
        reason = f"{name} is not in input, and no step fills it: list it, or mark it computed and fill it"
        return Violation("/input", "not_filled", reason, field=name)
    last = max(number for number, step in enumerate(steps) if number == 0 or name in steps[number - 1].columns)
    reason = f"{name} is a field, and after this step ({steps[last].kind.op}) it is no column any more"
    return Violation(f"/pipeline/{last}", "not_filled", reason, field=name)


def _check_unread(number: int, step: Step, unread: dict[str, int]) -> Iterator[Violation]:
    """Yield the columns that the step makes though one that was made before it was read by nobody.

    unread: the columns that were made and not read yet, and the steps that made them; it is kept up.
    """
    for name in step.reads:
        unread.pop(name, None)
    for name in sorted(step.writes):
        if name in unread:
            reason = f"step {unread[name]} makes {name} too, and nothing reads it before it is made anew"
            yield Violation(f"/pipeline/{number}", "made_twice", reason, field=name)
        unread[name] = number


def _check_writes(contract: Contract, number: int, step: Step) -> Iterator[Violation]:
    for name in sorted(step.writes):
        if name in contract.key:
            reason = f"{name} is a field of the key, which no step may change"
            yield Violation(f"/pipeline/{number}", "key_field", reason, field=name)
        elif name.startswith("_"):
            reason = f"{shorten(name)}: names with a leading _ are system columns"
            yield Violation(f"/pipeline/{number}", "reserved_name", reason, field=name)
        elif contract.has_field(name) and not contract.field(name).computed and name not in step.reads:
            reason = f"{name} is sent by clients and would be lost: mark it computed, or write another column"
            yield Violation(f"/pipeline/{number}", "not_computed", reason, field=name)


def is_stored_as_seen(contract: Contract, steps: Sequence[Step], number: int, name: str) -> bool:
    """Say whether what the table has in a column is what the step with that number sees.

    It is a field of the type that the column has there, and neither this step nor a later one writes it. What a step
    makes is brought into a normal form after the last one.
    """
    if not contract.has_field(name) or any(name in step.writes for step in steps[number:]):
        return False
    field = contract.field(name)
    if field.normalize is not None and any(name in step.writes for step in steps[:number]):
        return False
    before = steps[number - 1].columns.get(name) if number else None
    return before is None or (before.type, before.arrow) == (field.type, TYPES[field.type].arrow(field))


def bound_types(contract: Contract) -> Types:
    """Return what the steps of a contract know of its types."""
    return _ContractTypes(contract)


def _fits(made: Column, field: FieldSpec) -> bool:
    """Say whether the field takes a column. Those of one type differ, too: the path of an image is not its bytes."""
    kind = TYPES[field.type]
    if made.type == field.type:
        return bool(made.arrow == kind.arrow(field))
    return made.type in kind.takes and kind.accepts_column(field, made.arrow)


def _unfit(made: Column, field: FieldSpec, pointer: str) -> Violation:
    takes, name = f"is of type {field.type}", made.type
    if made.type == field.type:
        takes, name = f"takes {TYPES[field.type].describe(field)}", str(made.arrow)
    reason = f"{field.name} {takes}, and this step makes it {name}"
    return Violation(pointer, "wrong_type", reason, field=field.name)


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


def _in_contract(violation: Violation) -> Violation:
    return Violation(f"/pipeline{violation.pointer}", violation.code, violation.reason, field=violation.field)


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
