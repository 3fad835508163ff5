"""The arguments of a job, as JSON: checked against the model of its type at submit, and by the worker once more.

They are stored as they were sent. What the model adds (defaults) is added by the worker at each attempt.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_json, to_jsonable_python

from gristmill.core.errors import Invalid, Violation
from gristmill.core.logs import get_logger
from gristmill.jobs.errors import ArgumentsNotUnderstood
from gristmill.jobs.job_types.declaration import JobType
from gristmill.kit.json_pointer import pointer_to
from gristmill.kit.json_values import unstorable

log = get_logger()
_ARGS = "args"


def check_arguments(job_type: JobType, value: Mapping[str, Any]) -> BaseModel:
    """Return the arguments as the function gets them. value: JSON. Raises Invalid that names each place."""
    bad = [
        Violation(f"/{_ARGS}{pointer}", code, f"{pointer or 'the arguments'}: {reason}", field=_name(pointer))
        for pointer, code, reason in unstorable(value)
    ]
    if bad:
        raise _invalid(job_type, bad)
    return _validate(job_type, value)


def _validate(job_type: JobType, value: Mapping[str, Any]) -> BaseModel:
    try:
        return job_type.model.model_validate_json(to_json(value))
    except ValidationError as error:
        raise _invalid(job_type, [_violation(item, value) for item in error.errors(include_url=False)]) from error
    except Exception as error:
        # A validator of the plugin that fails in another way than pydantic expects: no reason for a 500.
        log.exception("arguments.check_failed", type=job_type.name)
        reason = f"The check of the arguments failed with {type(error).__name__}; the log of the API has the cause"
        raise _invalid(job_type, [Violation(f"/{_ARGS}", "check_failed", reason, field=_ARGS)]) from error


def read_arguments(job_type: JobType, stored: Mapping[str, Any]) -> BaseModel:
    """Return the arguments of an accepted job. Raises ArgumentsNotUnderstood: an older worker must not guess."""
    try:
        return _validate(job_type, stored)
    except Invalid as error:
        raise ArgumentsNotUnderstood(
            f"The arguments do not fit the job type {job_type.name} as this worker has it: {error.detail}. "
            "The job waits for a worker of the version that it was submitted to; cancel it if there will be none"
        ) from error


def as_json(args: BaseModel | Mapping[str, Any] | None) -> dict[str, Any]:
    """Return arguments that a program gives as JSON. Raises Invalid for what has no form in JSON."""
    if isinstance(args, BaseModel):
        return args.model_dump(mode="json", by_alias=True, round_trip=True)
    try:
        found: dict[str, Any] = to_jsonable_python(dict(args or {}))
    except (PydanticSerializationError, ValueError) as error:
        raise Invalid(f"The arguments are no JSON: {error}") from error
    return found


def schema_of(job_type: JobType) -> dict[str, Any]:
    """Return the JSON Schema of the arguments."""
    return job_type.model.model_json_schema(mode="validation")


def _invalid(job_type: JobType, violations: Sequence[Violation]) -> Invalid:
    shown = "; ".join(one.reason for one in violations[:3])
    return Invalid(f"The arguments do not fit the job type {job_type.name}: {shown}", violations)


def _violation(item: Mapping[str, Any], value: Any) -> Violation:
    place = _place(item, value)
    shown = "" if item["type"] == "missing" else f" (got {item['input']!r:.80})"
    name = ".".join(map(str, place)) or _ARGS
    return Violation(
        pointer_to([_ARGS, *place]),
        item["type"],
        f"{name}: {item['msg']}{shown}",
        field=str(place[-1]) if place else None,
    )


def _place(item: Mapping[str, Any], value: Any) -> list[str | int]:
    """Return the steps that lead to what is wrong; those of pydantic have names of types between them too."""
    place: list[str | int] = []
    for step in item["loc"]:
        is_item = isinstance(value, list) and isinstance(step, int) and step < len(value)
        if is_item or (isinstance(value, dict) and step in value):
            value = value[step]
            place.append(step)
    # What is missing is in no value.
    return [*place, item["loc"][-1]] if item["type"] == "missing" else place


def _name(pointer: str) -> str | None:
    return pointer.rpartition("/")[2] or None
