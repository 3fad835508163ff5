"""From the steps that a user wrote to steps that run: names, parameters and columns, one step after the other."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import ValidationError

from gristmill.core.errors import Violation
from gristmill.kit.identifiers import is_name
from gristmill.kit.json_pointer import pointer_to
from gristmill.transforms.registry import StepRegistry
from gristmill.transforms.spec import Column, Columns, Parameters, Step, StepRefused, Types

# Binding a pipeline and each of its batches takes time for each step.
MOST_STEPS = 100
AnyParameters = TypeVar("AnyParameters", bound=Parameters)


def bind(
    steps: Sequence[Mapping[str, Any]],
    columns: Columns,
    types: Types,
    registry: StepRegistry,
    open_end: bool = False,
) -> list[Step]:
    """Return the steps, each bound to the columns that those before it leave.

    columns: what clients send. open_end: whether the last step may find its columns in the values. Raises StepRefused
    at the first step that does not fit, as the columns of those after it are not known; pointers start with the number
    of the step.
    """
    if len(steps) > MOST_STEPS:
        reason = f"the pipeline has {len(steps)} steps: at most {MOST_STEPS} are possible"
        raise StepRefused(Violation("", "too_many", reason, field="pipeline"))
    bound: list[Step] = []
    for number, body in enumerate(steps):
        try:
            step = _bind(number, body, columns, types, registry)
            if step.kind.finds_columns(step.parameters) and not (open_end and number == len(steps) - 1):
                reason = "its columns are known here only if it names the values; at the end of a view it need not"
                raise refuse("values", "missing", f"{step.kind.op}: {reason}")
        except StepRefused as error:
            moved = (replace(one, pointer=f"/{number}{one.pointer}") for one in error.violations)
            raise StepRefused(*moved) from error
        bound.append(step)
        columns = step.columns
    return bound


def need(columns: Columns, name: str, pointer: str) -> Column:
    """Return the column called ``name``. Raises StepRefused naming those there are."""
    found = columns.get(name)
    if found is None:
        there = ", ".join(columns) or "none"
        reason = f"There is no column {json.dumps(name)[:80]} here; the columns are: {there[:400]}"
        raise StepRefused(Violation(pointer, "unknown_column", reason, field=name))
    return found


def need_each(columns: Columns, names: Sequence[str]) -> list[Column]:
    """Return the columns that the member ``columns`` of a step lists, each once. Raises StepRefused."""
    found = [need(columns, name, f"/columns/{index}") for index, name in enumerate(names)]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise StepRefused(Violation(f"/columns/{index}", "duplicate", f"{name} is listed twice", field=name))
    return found


def need_type(columns: Columns, name: str, valid: Sequence[str], pointer: str) -> Column:
    """Return the column called ``name``, of one of the types ``valid``. Raises StepRefused."""
    found = need(columns, name, pointer)
    if found.type not in valid:
        reason = f"{name} is of type {found.type}: this step takes {', '.join(valid)}"
        raise StepRefused(Violation(pointer, "wrong_type", reason, field=name))
    return found


def typed_target(name: str, given: str | None, default: str, types: Types) -> Column:
    """Return the column that a step makes: of the type ``given`` (its member ``type``), else of that of the field with
    its name, else of ``default``. Raises StepRefused for a type that there is not."""
    field = types.target(name)
    if given is None:
        return types.column(name, default) if field is None else Column(name, field.type, field.arrow)
    try:
        return types.column(name, given)
    except KeyError as error:
        raise StepRefused(Violation("/type", "unknown_value", str(error.args[0]), field="type")) from error


def refuse(member: str, code: str, reason: str) -> StepRefused:
    """Return the refusal of a member of the step."""
    return StepRefused(Violation(f"/{member}", code, reason, field=member))


def check_target(name: str, pointer: str) -> None:
    """Raise StepRefused for what cannot name a column. Names with a leading _ are refused by the contract."""
    if not is_name(name.lstrip("_")):
        reason = f"{json.dumps(name)[:80]} names no column: a letter from a to z, then up to 47 of a-z, 0-9 and _"
        raise StepRefused(Violation(pointer, "bad_name", reason, field="as"))


def _bind(number: int, body: Mapping[str, Any], columns: Columns, types: Types, registry: StepRegistry) -> Step:
    kind = registry.get(body["op"])
    if kind is None:
        extra = registry.extra_of(body["op"])
        if extra is not None:
            reason = f"The step {body['op']} is not installed on this server: pip install '{extra}'"
            raise StepRefused(Violation("/op", "not_installed", reason, field="op"))
        reason = f"There is no step {json.dumps(body['op'])[:80]}; the steps are: {', '.join(registry.names())}"
        raise StepRefused(Violation("/op", "unknown_step", reason, field="op"))
    parameters = read_parameters(kind.parameters, body)
    after = kind.schema(parameters, columns, types)
    made = kind.make(parameters, columns, types)
    return Step(number, kind, parameters, after, made, kind.reads_too(parameters, columns, types))


def read_parameters(model: type[AnyParameters], body: Mapping[str, Any]) -> AnyParameters:
    """Return the parameters of a step. Raises StepRefused with each mistake."""
    try:
        # Strict JSON mode takes arrays for tuples, which strict Python mode does not.
        return model.model_validate_json(json.dumps(body))
    except ValidationError as error:
        raise StepRefused(*(_violation(item, model) for item in error.errors())) from error


def _violation(item: Any, model: type[Parameters]) -> Violation:
    pointer = pointer_to(item["loc"])
    name = str(item["loc"][0]) if item["loc"] else None
    if item["type"] == "missing":
        return Violation(pointer, "missing", f"The member {name} is missing", field=name)
    if item["type"] == "extra_forbidden":
        valid = ", ".join(field.alias or name for name, field in model.model_fields.items())
        return Violation(pointer, "unknown_member", f"There is no member {name} here; they are: {valid}", field=name)
    shown = json.dumps(item["input"], default=str)[:80]
    return Violation(pointer, "wrong_type", f"{shown} does not fit here: {item['msg']}", field=name)
