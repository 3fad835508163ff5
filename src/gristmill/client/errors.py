"""What the client raises; the third translator of Gristmill's errors, from problem objects back to exceptions.

ClientError
├── InvalidArgument          what was given cannot be sent, and was not; also a ValueError
├── ConnectionFailed         no answer: not reachable, broken off or timed out, at every attempt
├── Problem                  an answer that is an error (RFC 9457)
│   ├── Refused              4xx: sending the same again gets the same answer
│   │   ├── InvalidRequest   400, 415, 416, 422   ``errors`` names record, field, code and reason
│   │   ├── Unauthenticated  401
│   │   ├── Forbidden        403
│   │   ├── NotFound         404, 410
│   │   ├── Conflict         409
│   │   ├── RefusedPrecondition 412        also a PreconditionFailed
│   │   └── TooLarge         413
│   └── ServerError          5xx
│       └── Unavailable      429, 503        at every attempt; ``retry_after`` in seconds
├── PreconditionFailed       it has another ETag than ``if_match``; ``etag`` is the new one, if it is known
└── UnfinishedJob            the job was accepted but did not succeed; ``job`` is its last known state
    ├── JobFailed
    │   └── JobPreconditionFailed          also a PreconditionFailed
    ├── JobCancelled
    └── WaitTimeout          it may still succeed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gristmill.client._httpx import httpx


class ClientError(Exception):
    """Root of everything that the client raises on purpose."""

    status = 400

    def answer(self) -> tuple[dict[str, Any], int, dict[str, str], str]:
        """Return body, status, headers and media type of the answer with which an application hands the error on.

        Of a problem it is what the server said, with its Retry-After.
        """
        return {"detail": str(self), "status": self.status}, self.status, {}, "application/problem+json"


class InvalidArgument(ClientError, ValueError):
    """What was given cannot be sent: an address, a key, a format, a value that JSON does not have."""


class ConnectionFailed(ClientError):
    """The server gave no answer. A write may have been carried out: send it again with the same Idempotency-Key."""

    status = 503

    def __init__(self, message: str, idempotency_key: str | None = None) -> None:
        super().__init__(message)
        self.idempotency_key = idempotency_key


class Problem(ClientError):
    """The server answered with an error."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> None:
        self.status = status
        self.problem = dict(problem)
        self.code = str(problem.get("code", f"http_{status}"))
        self.detail = str(problem.get("detail") or problem.get("title") or f"HTTP status {status}")
        self.errors: list[dict[str, Any]] = list(problem.get("errors", ()))
        self.errors_total = int(problem.get("errors_total", len(self.errors)))
        self.retry_after = retry_after
        super().__init__(f"{self.detail} ({status} {self.code})")

    def answer(self) -> tuple[dict[str, Any], int, dict[str, str], str]:
        pause = {} if self.retry_after is None else {"Retry-After": str(round(self.retry_after))}
        return self.problem, self.status, pause, "application/problem+json"


class Refused(Problem):
    """The request cannot be carried out as it is."""


class InvalidRequest(Refused):
    """The request is malformed, or its contents are not valid."""


class Unauthenticated(Refused):
    """An API key is needed, or the one given is not known."""


class Forbidden(Refused):
    """The API key does not have the permission."""


class NotFound(Refused):
    """There is no such dataset, job or record."""


class Conflict(Refused):
    """The state of the thing does not allow it."""


class PreconditionFailed(ClientError):
    """Somebody has changed the thing since the ETag was read, and nothing was done: read it again."""

    etag: str | None = None


class RefusedPrecondition(Refused, PreconditionFailed):
    """The call was refused: the thing has another ETag."""

    def __init__(self, status: int, problem: Mapping[str, Any], retry_after: float | None = None) -> None:
        super().__init__(status, problem, retry_after)
        self.etag = problem.get("etag")


class TooLarge(Refused):
    """The body is over the limit."""


class ServerError(Problem):
    """The server failed."""


class Unavailable(ServerError):
    """The server is there but cannot take the request now, and said so at every attempt."""


class UnfinishedJob(ClientError):
    """A job that was waited for has not succeeded."""

    def __init__(self, message: str, job: dict[str, Any]) -> None:
        super().__init__(message)
        self.job = job


class JobFailed(UnfinishedJob):
    """The job failed; ``job["error"]`` is the problem object."""


class JobPreconditionFailed(JobFailed, PreconditionFailed):
    """The call was accepted, but a job before its own has changed the thing."""

    def __init__(self, message: str, job: dict[str, Any]) -> None:
        super().__init__(message, job)
        self.etag = (job.get("error") or {}).get("etag")


class JobCancelled(UnfinishedJob):
    """The job was cancelled."""


class WaitTimeout(UnfinishedJob):
    """The job was not done in the time given. It goes on; ``job`` is as last seen."""


_BY_STATUS: dict[int, type[Problem]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: NotFound,
    412: RefusedPrecondition,
    413: TooLarge,
    415: InvalidRequest,
    416: InvalidRequest,
    422: InvalidRequest,
    428: InvalidRequest,
    429: Unavailable,
    503: Unavailable,
}


def problem_of(response: httpx.Response) -> Problem:
    """Return the exception for a response whose body has been read and whose status is 400 or above."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        # A proxy in between answers in words of its own; they help more than a bare status.
        body = {
            "detail": f"HTTP {response.status_code} from {response.url}: {response.text[:200].strip() or 'no body'}"
        }
    fallback = Refused if response.status_code < 500 else ServerError
    kind = _BY_STATUS.get(response.status_code, fallback)
    return kind(response.status_code, body, retry_after_of(response))


def retry_after_of(response: httpx.Response) -> float | None:
    """Return the seconds of Retry-After; None if it is absent or is a date (Gristmill always sends seconds)."""
    try:
        return max(0.0, float(response.headers["Retry-After"]))
    except (KeyError, ValueError):
        return None


def unsuccessful(job: dict[str, Any]) -> UnfinishedJob | None:
    """Return the exception for a job that is done but did not succeed, or None if it did."""
    if job["state"] == "succeeded":
        return None
    error = job.get("error") or {}
    reason = error.get("detail") or error.get("title") or "no reason was given"
    failed = JobPreconditionFailed if error.get("status") == 412 else JobFailed
    kind = JobCancelled if job["state"] == "cancelled" else failed
    return kind(f"job {job['id']} ({job.get('type')}) is {job['state']}: {reason}", job)
