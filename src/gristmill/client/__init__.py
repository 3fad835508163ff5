"""The Python client: knows the REST interface and nothing else of Gristmill.

from gristmill.client import Client

with Client("http://127.0.0.1:8000") as client:
    client.submit("readings", [{"sensor": "a", "at": "2026-01-01T00:00:00Z", "value": 1.5}], wait=True)
    for record in client.records("readings", where={"sensor": "a"}):
        print(record)
"""

from typing import TYPE_CHECKING, Any

from gristmill.client._retry import Retry
from gristmill.client._rows import Rows
from gristmill.client._tables import Frame
from gristmill.client.client import Client
from gristmill.client.errors import (
    ClientError,
    Conflict,
    ConnectionFailed,
    Forbidden,
    InvalidArgument,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    JobPreconditionFailed,
    NotFound,
    PreconditionFailed,
    Problem,
    Refused,
    RefusedPrecondition,
    ServerError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    UnfinishedJob,
    WaitTimeout,
)

if TYPE_CHECKING:
    from gristmill.client.async_client import AsyncClient as AsyncClient

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Conflict",
    "ConnectionFailed",
    "Forbidden",
    "Frame",
    "InvalidArgument",
    "InvalidRequest",
    "JobCancelled",
    "JobFailed",
    "JobPreconditionFailed",
    "NotFound",
    "PreconditionFailed",
    "Problem",
    "Refused",
    "RefusedPrecondition",
    "Retry",
    "Rows",
    "ServerError",
    "TooLarge",
    "Unauthenticated",
    "Unavailable",
    "UnfinishedJob",
    "WaitTimeout",
]


def __getattr__(name: str) -> Any:
    # Loaded when it is asked for: it needs more than httpx, of the extra ``async``.
    if name == "AsyncClient":
        from gristmill.client.async_client import AsyncClient  # noqa: PLC0415

        return AsyncClient
    raise AttributeError(name)
