"""The one error tree. Domains raise these or their own subclasses; three translators turn them into answers.

    GristmillError
    ├── Invalid               422  the request is well-formed but cannot be applied; carries the list of violations
    │   └── Malformed         400  the body cannot be read at all (broken JSON, CSV, encoding, page token)
    ├── Unauthenticated       401
    ├── Forbidden             403
    ├── NotFound              404
    │   └── Gone              410  it was there; what is kept for a while only has expired
    ├── MethodNotAllowed      405
    ├── NotAcceptable         406
    ├── Conflict              409
    ├── PreconditionFailed    412  what If-Match names is not what is there
    ├── TooLarge              413
    ├── UnsupportedMedia      415
    ├── RangeNotSatisfiable   416  none of the bytes that Range names are there
    ├── TooMany               429  carries Retry-After
    ├── Unavailable           503  retryable: a service does not answer; carries Retry-After
    │   ├── DatabaseUnavailable    Postgres itself
    │   │   └── StorageFull        it has no room on disk
    │   └── Contended              a lock was not granted in time, or a deadlock was ended
    └── Internal              500  a defect: the cause is logged, never shown

``code`` is stable and documented; ``kind`` groups codes; ``retryable`` says whether the same thing may work later.
The translators: ``api/problems.py``, ``jobs/outcome.py``, ``client/errors.py``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

MAX_LISTED = 100


@dataclass(frozen=True, slots=True)
class Violation:
    """One thing that is wrong: where (JSON pointer), what (stable code), why (a sentence that shows the value).

    record: index of the record in the request, from 0, or None when the violation is not in a record.
    line: line in a CSV or NDJSON body, from 1.
    field: the name of the field.
    """

    pointer: str
    code: str
    reason: str
    record: int | None = None
    line: int | None = None
    field: str | None = None

    def as_json(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value is not None}


class GristmillError(Exception):
    """Root of all errors that Gristmill raises on purpose."""

    code: ClassVar[str] = "internal"
    kind: ClassVar[str] = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"
    retryable: ClassVar[bool] = False
    costs_attempt: ClassVar[bool] = True
    """False for what is not the chunk's fault: the chunk waits until it is over, and no attempt is counted."""

    def __init__(self, detail: str, **extra: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.extra: dict[str, Any] = extra

    def problem(self) -> dict[str, Any]:
        """Return the RFC 9457 problem object."""
        return {
            "type": f"urn:gristmill:problem:{self.code}",
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
            **self.extra,
        }

    def headers(self) -> Mapping[str, str]:
        return {}


class Invalid(GristmillError):
    """The request cannot be applied. ``violations`` lists at most 100 errors; ``total`` counts all of them."""

    code = "invalid"
    kind = "invalid"
    status = 422
    title = "The request is not valid"

    def __init__(
        self, detail: str, violations: Sequence[Violation] = (), total: int | None = None, **extra: Any
    ) -> None:
        super().__init__(detail, **extra)
        self.violations = list(violations[:MAX_LISTED])
        self.total = len(violations) if total is None else total

    def problem(self) -> dict[str, Any]:
        body = super().problem()
        if self.violations:
            body["errors"] = [violation.as_json() for violation in self.violations]
            body["errors_total"] = self.total
        return body


class Malformed(Invalid):
    code = "malformed"
    status = 400
    title = "The request cannot be read"


class Unauthenticated(GristmillError):
    code = "unauthenticated"
    kind = "unauthenticated"
    status = 401
    title = "An API key is needed"

    def headers(self) -> Mapping[str, str]:
        return {"WWW-Authenticate": 'Bearer realm="gristmill"'}


class Forbidden(GristmillError):
    code = "forbidden"
    kind = "forbidden"
    status = 403
    title = "Not allowed"


class NotFound(GristmillError):
    code = "not_found"
    kind = "not_found"
    status = 404
    title = "Not found"


class Gone(NotFound):
    code = "gone"
    status = 410
    title = "It is not there any more"


class MethodNotAllowed(GristmillError):
    code = "method_not_allowed"
    kind = "not_found"
    status = 405
    title = "Method not allowed"


class NotAcceptable(GristmillError):
    code = "not_acceptable"
    kind = "invalid"
    status = 406
    title = "There is no such form of it"


class Conflict(GristmillError):
    code = "conflict"
    kind = "conflict"
    status = 409
    title = "Conflict"


class PreconditionFailed(GristmillError):
    code = "precondition_failed"
    kind = "conflict"
    status = 412
    title = "It has changed meanwhile"


class TooLarge(GristmillError):
    code = "too_large"
    kind = "too_large"
    status = 413
    title = "Too large"


class UnsupportedMedia(GristmillError):
    code = "unsupported_media_type"
    kind = "invalid"
    status = 415
    title = "Unsupported media type"


class RangeNotSatisfiable(GristmillError):
    code = "range_not_satisfiable"
    kind = "invalid"
    status = 416
    title = "The range cannot be given"

    def __init__(self, detail: str, size: int) -> None:
        super().__init__(detail, size=size)
        self._size = size

    def headers(self) -> Mapping[str, str]:
        return {"Content-Range": f"bytes */{self._size}"}


class _Later(GristmillError):
    def __init__(self, detail: str, retry_after: int = 1, **extra: Any) -> None:
        super().__init__(detail, **extra)
        self.retry_after = retry_after

    def headers(self) -> Mapping[str, str]:
        return {"Retry-After": str(self.retry_after)}


class TooMany(_Later):
    code = "too_many"
    kind = "too_many"
    status = 429
    title = "Too much is queued"
    retryable = True


class Unavailable(_Later):
    code = "unavailable"
    kind = "unavailable"
    status = 503
    title = "Not available right now"
    retryable = True


class DatabaseUnavailable(Unavailable):
    """Postgres cannot be reached or is out of resources: no attempt is counted, and work goes on once it is back."""

    code = "database_unavailable"
    costs_attempt = False


class StorageFull(DatabaseUnavailable):
    """Postgres has no room on disk for what was to be written: the chunk waits until there is room, however long."""

    code = "storage_full"
    title = "No room on disk"

    def __init__(self, detail: str, retry_after: int = 10, **extra: Any) -> None:
        super().__init__(detail, retry_after, **extra)


class Contended(Unavailable):
    """Postgres gave up on a lock, or ended the transaction to resolve a deadlock: the next attempt may succeed."""

    code = "contended"


class Internal(GristmillError):
    """A defect on our side; ``detail`` must not reveal anything."""
