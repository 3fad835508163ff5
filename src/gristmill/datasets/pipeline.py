"""The pipeline of a contract: its steps bound to the columns that clients send, and whether it makes the fields."""

from collections.abc import Iterator, Sequence
from typing import Any

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract import EXTRA_COLUMN, Contract, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.step_types import bound_types, column_of
from gristmill.datasets.types import TYPES
from gristmill.transforms.registry import StepRegistry
from gristmill.transforms.schema_rules import bind
from gristmill.transforms.spec import Column, Step, StepRefused


def bind_pipeline(contract: Contract, registry: StepRegistry) -> list[Step]:
    """Return the steps of a contract, ready to run over its payloads. Raises Invalid if they do not fit."""
    columns = {field.name: column_of(field) for field in contract.input_fields}
    try:
        return bind([step.as_json() for step in contract.pipeline], columns, bound_types(contract), registry)
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


def _in_contract(violation: Violation) -> Violation:
    return Violation(f"/pipeline{violation.pointer}", violation.code, violation.reason, field=violation.field)
