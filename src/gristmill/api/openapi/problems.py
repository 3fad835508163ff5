"""Problems (RFC 9457) in the OpenAPI document: one answer for each status, with the codes that it may have."""

from collections.abc import Set
from typing import Any

from pydantic import BaseModel, ConfigDict

from gristmill.core.errors import GristmillError, Violation

MEDIA_TYPE = "application/problem+json"
_TITLES = {
    400: "The request cannot be read",
    401: "An API key is needed, or the one that was sent is not known",
    403: "The key lacks the permission, or a page of another site asks",
    404: "There is no such thing",
    405: "The path has no such method",
    406: "None of the media types that are accepted can be given",
    409: "The state of things forbids it",
    410: "It was there, and is not any more",
    412: "A precondition does not hold",
    413: "The body is too large",
    415: "The Content-Type or Content-Encoding is not taken here",
    416: "None of the bytes of `Range` are there",
    422: "The request does not fit; `errors` says where",
    428: "A confirmation is missing",
    429: "Too much is queued or running; `Retry-After` says when to try again",
    500: "A defect; the log has the cause under `request_id`",
    503: "A service that is needed does not answer; `Retry-After` says when to try again",
}
_LATER = {
    "Retry-After": {
        "description": "seconds until it is worth trying again",
        "schema": {"type": "integer", "minimum": 0},
    }
}


class Problem(BaseModel):
    """A problem. code: stable, see the list in docs/rest.md. errors: at most 100 of ``errors_total``."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    code: str
    detail: str
    instance: str | None = None
    request_id: str | None = None
    errors: list[Violation] | None = None
    errors_total: int | None = None


def codes() -> dict[int, list[str]]:
    """Return the codes of each status, of all errors that are loaded."""
    found: dict[int, set[str]] = {}
    pending: list[type[GristmillError]] = [GristmillError]
    while pending:
        kind = pending.pop()
        pending.extend(kind.__subclasses__())
        found.setdefault(kind.status, set()).add(kind.code)
    return {status: sorted(names) for status, names in sorted(found.items())}


def answers(statuses: Set[int]) -> dict[str, Any]:
    """Return the components ``responses``: one problem for each status."""
    known = codes()
    return {component(status): _answer(status, known.get(status, [])) for status in sorted(statuses)}


def component(status: int) -> str:
    return f"Problem{status}"


def reference(status: int) -> dict[str, str]:
    return {"$ref": f"#/components/responses/{component(status)}"}


def _answer(status: int, names: list[str]) -> dict[str, Any]:
    described = _TITLES[status] + (f". Codes: {', '.join(f'`{name}`' for name in names)}." if names else ".")
    answer: dict[str, Any] = {
        "description": described,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    if status in (429, 503):
        answer["headers"] = _LATER
    return answer
