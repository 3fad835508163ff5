"""The body of a request for a job, read and checked."""

import dataclasses
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.bodies import parse_json
from gristmill.core.http.parameters import MOMENT, moment_of
from gristmill.jobs.endpoints import LABEL, MOST_LABELS, is_label
from gristmill.jobs.job_types.schemas import JobRequest
from gristmill.jobs.submit import WriteRequest
from gristmill.kit.json_pointer import pointer_to

# Members of the body, and the parameters that say the same.
_TWICE = {"priority": "priority", "labels": "label", "run_at": "run_at", "delay": "run_at"}


def parse_request(body: bytes) -> JobRequest:
    """Return the request. Raises Malformed for what is no JSON, Invalid that names each member that does not fit."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise _invalid("", "not_an_object", f"A job is a JSON object with a type and args (got {value!r:.80})")
    try:
        return JobRequest.model_validate(value)
    except ValidationError as error:
        violations = [_violation(dict(item)) for item in error.errors(include_url=False)]
        raise Invalid("; ".join(one.reason for one in violations[:3]), violations) from error


def with_options(
    request: WriteRequest, given: JobRequest, parameters: set[str], after: datetime | None
) -> WriteRequest:
    """Return the request with the write options of the body.

    parameters: the names of those in the query. after: the time that the body's delay comes to.
    """
    for member, parameter in _TWICE.items():
        if getattr(given, member) is not None and parameter in parameters:
            raise _invalid(
                f"/{member}", "duplicate", f"{member} is given in the body, and as the parameter {parameter}"
            )
    labels = given.labels or {}
    for name, value in labels.items():
        if not is_label(name, value):
            raise _invalid(
                pointer_to(["labels", name]),
                "bad_label",
                f"the label {name!r:.80}={value!r:.80} is not valid: give {LABEL}",
            )
    if len(labels) > MOST_LABELS:
        raise _invalid("/labels", "bad_label", f"there are {len(labels)} labels: at most {MOST_LABELS} are valid")
    run_at = _run_at(given, after)
    return dataclasses.replace(
        request,
        priority=request.priority if given.priority is None else given.priority,
        labels=request.labels if given.labels is None else labels,
        run_at=request.run_at if run_at is None else run_at,
    )


def _run_at(given: JobRequest, after: datetime | None) -> datetime | None:
    if given.run_at is None:
        return after
    if given.delay is not None:
        raise _invalid("/delay", "duplicate", "run_at and delay say the same: give one of them")
    moment = moment_of(given.run_at)
    if moment is None:
        raise _invalid("/run_at", "bad_time", f"run_at={given.run_at!r:.80} is not valid: give {MOMENT}")
    return moment


def _violation(item: dict[str, Any]) -> Violation:
    name = ".".join(map(str, item["loc"]))
    shown = "" if item["type"] == "missing" else f" (got {item['input']!r:.80})"
    msg = item["msg"]
    if item["type"] == "extra_forbidden":
        msg = f"there is no such member; the members are: {', '.join(JobRequest.model_fields)}"
    return Violation(pointer_to(item["loc"]), item["type"], f"{name}: {msg}{shown}", field=str(item["loc"][-1]))


def _invalid(pointer: str, code: str, reason: str) -> Invalid:
    return Invalid(reason, [Violation(pointer, code, reason, field=pointer.rpartition("/")[2] or None)])
