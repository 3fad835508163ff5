"""The client: one object per server, holding the connection pool."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

from gristmill.client._aggregates import AggregateCalls
from gristmill.client._datasets import DatasetCalls
from gristmill.client._httpx import httpx
from gristmill.client._image_exports import ImageExportCalls
from gristmill.client._inference import InferenceCalls
from gristmill.client._records import RecordCalls
from gristmill.client._rejects import RejectCalls
from gristmill.client._retry import Retry
from gristmill.client._schedules import ScheduleCalls
from gristmill.client._sources import SourceCalls
from gristmill.client._transport import Json, Transport
from gristmill.client._views import ViewCalls


class Client(
    AggregateCalls,
    DatasetCalls,
    InferenceCalls,
    RecordCalls,
    RejectCalls,
    ScheduleCalls,
    SourceCalls,
    ImageExportCalls,
    ViewCalls,
):
    """Talks to one Gristmill server. Safe to use from several threads; close it, or use it in a ``with`` block.

    base_url: as in "http://127.0.0.1:8000", without "/api/v1".
    api_key: needed unless the server is on loopback and configured without keys.
    timeout: seconds for connecting, and for each silence of the server; waiting for a job is not limited by it.
    retry: how often calls are repeated. Writes are repeated too: each has an Idempotency-Key.
    transport: an httpx transport instead of the network. sleep: what pauses between attempts.

    Jobs, datasets and records are the dictionaries of the REST interface. Raises the exceptions of
    ``gristmill.client.errors``.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retry: Retry | None = None,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._transport = Transport(base_url, api_key, timeout, retry or Retry(), transport, sleep)

    @property
    def base_url(self) -> str:
        return self._transport.base_url

    def version(self) -> Json:
        """Return the versions that the server says it runs."""
        answer: Json = self._transport.call("GET", "/version")
        return answer

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
