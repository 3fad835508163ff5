"""Runs the blocking client on an event loop: where it would wait for the network, its greenlet waits on the loop.

So there is one code of each call. SQLAlchemy's asyncio extension does the same.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from gristmill.client._httpx import httpx

T = TypeVar("T")
_END = object()


async def run(work: Callable[..., T], *args: Any, **options: Any) -> T:
    """Return what ``work`` returns; what it gives to ``wait_for`` is awaited here."""
    worker = greenlet(work)
    # The context is the task's: what the caller has set there is seen inside.
    worker.gr_context = getcurrent().gr_context
    result = worker.switch(*args, **options)
    while not worker.dead:
        try:
            value = await result
        except BaseException:  # noqa: BLE001 - cancelling too is told to whoever waits
            result = worker.throw(*sys.exc_info())
        else:
            result = worker.switch(value)
    return result  # type: ignore[no-any-return]


def wait_for(awaitable: Awaitable[T]) -> T:
    """Return what ``awaitable`` gives, within ``run``; the event loop goes on meanwhile."""
    parent = getcurrent().parent
    assert parent is not None, "called outside of run"
    return parent.switch(awaitable)  # type: ignore[no-any-return]


def sleep(seconds: float) -> None:
    wait_for(asyncio.sleep(seconds))


async def iterate(items: Iterator[T]) -> AsyncGenerator[T, None]:
    """Yield what ``items`` yields, each within ``run``."""
    try:
        while (item := await run(next, items, _END)) is not _END:
            yield item
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            await run(close)


class LoopTransport(httpx.BaseTransport):
    """Sends requests of a blocking httpx client by an asynchronous transport."""

    def __init__(self, transport: httpx.AsyncBaseTransport) -> None:
        self._transport = transport

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert isinstance(request.stream, httpx.SyncByteStream)
        sent = httpx.Request(
            request.method,
            request.url,
            headers=request.headers,
            stream=_Sent(request.stream),
            extensions=request.extensions,
        )
        answer = wait_for(self._transport.handle_async_request(sent))
        assert isinstance(answer.stream, httpx.AsyncByteStream)
        return httpx.Response(
            answer.status_code, headers=answer.headers, stream=_Received(answer.stream), extensions=answer.extensions
        )

    def close(self) -> None:
        wait_for(self._transport.aclose())


class _Sent(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.SyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        # Bodies are files: their pieces are read as they are sent, a quarter of a MiB at a time.
        for piece in self._stream:
            yield piece


class _Received(httpx.SyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        pieces = self._stream.__aiter__()
        while True:
            try:
                piece = wait_for(anext(pieces))
            except StopAsyncIteration:
                return
            yield piece

    def close(self) -> None:
        wait_for(self._stream.aclose())
