"""The client for asyncio: every call of ``Client``, awaited."""

from __future__ import annotations

import functools
import inspect
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any

from gristmill.client import _greenlets
from gristmill.client._httpx import httpx
from gristmill.client._retry import Retry
from gristmill.client._rows import Rows
from gristmill.client._transport import Json
from gristmill.client.client import Client

if TYPE_CHECKING:
    import pandas as pd
    import polars as pl
    import pyarrow as pa


class AsyncRows:
    """Records that match, of ``AsyncClient.records``: used in ``async for``, or fetched at once as a frame."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._iteration = _greenlets.iterate(rows)

    def __aiter__(self) -> AsyncIterator[Json]:
        return self._iteration

    async def __anext__(self) -> Json:
        return await anext(self._iteration)

    async def aclose(self) -> None:
        """End the iteration."""
        await self._iteration.aclose()
        await _greenlets.run(self._rows.close)

    async def to_arrow(self) -> pa.Table:
        """See ``Rows.to_arrow``."""
        return await _greenlets.run(self._rows.to_arrow)

    async def to_pandas(self) -> pd.DataFrame:
        """See ``Rows.to_pandas``."""
        return await _greenlets.run(self._rows.to_pandas)

    async def to_polars(self) -> pl.DataFrame:
        """See ``Rows.to_polars``."""
        return await _greenlets.run(self._rows.to_polars)


class AsyncClient:
    """Has the methods of ``Client``, with the same arguments, answers and errors; needs ``gristmill[async]``.

    Methods are awaited; those that yield (``records``, ``distinct``, ``jobs``, …) are used in ``async for``. Many calls
    may run at once. Close it with ``await client.aclose()``, or use it in an ``async with`` block.

        async with AsyncClient("http://127.0.0.1:8000") as client:
            await client.submit("readings", [{"sensor": "a", "value": 1.5}], wait=True)
            async for record in client.records("readings"):
                print(record)
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8000",
        api_key: str | None = None,
        *,
        timeout: float = 30.0,
        retry: Retry | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        if transport is None:
            limits = httpx.Limits(max_connections=100, max_keepalive_connections=20)
            verify: ssl.SSLContext | bool = base_url.startswith("https:")
            transport = httpx.AsyncHTTPTransport(verify=verify, limits=limits)
        inner = _greenlets.LoopTransport(transport)
        self._client = Client(base_url, api_key, timeout=timeout, retry=retry, transport=inner, sleep=_greenlets.sleep)

    @property
    def base_url(self) -> str:
        return self._client.base_url

    async def aclose(self) -> None:
        """Close the connections."""
        await _greenlets.run(self._client.close)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def _awaited(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return the asynchronous form of a method of Client."""
    if _lists(method):

        @functools.wraps(method)
        def listed(self: AsyncClient, *args: Any, **options: Any) -> AsyncRows:
            # Nothing is asked of the server before it is iterated over.
            return AsyncRows(method(self._client, *args, **options))

        return listed

    if _yields(method):

        @functools.wraps(method)
        async def iterated(self: AsyncClient, *args: Any, **options: Any) -> Any:
            items: Iterator[Any] = await _greenlets.run(method, self._client, *args, **options)
            async for item in _greenlets.iterate(iter(items)):
                yield item

        return iterated

    @functools.wraps(method)
    async def awaited(self: AsyncClient, *args: Any, **options: Any) -> Any:
        return await _greenlets.run(method, self._client, *args, **options)

    return awaited


def _lists(method: Callable[..., Any]) -> bool:
    return inspect.signature(method).return_annotation in (Rows, "Rows")


def _yields(method: Callable[..., Any]) -> bool:
    return str(inspect.signature(method).return_annotation).startswith(("Iterator", "collections.abc.Iterator"))


for _name, _method in inspect.getmembers(Client, inspect.isfunction):
    if not _name.startswith("_") and _name != "close":
        setattr(AsyncClient, _name, _awaited(_method))
