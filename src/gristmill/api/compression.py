"""Answers travel compressed (gzip, zstd) where the client asks for it and they are large enough.

Starlette's own middleware compresses in the event loop, and small answers as well.
"""

import asyncio
import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from functools import lru_cache
from typing import Any

import pyarrow as pa

from gristmill.kit.drain import Drain
from gristmill.kit.negotiation import best_coding

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

# Answers below this size go as they are: they fit into a few packets, and a search or a write would take longer for it.
LEAST_BYTES = 8 * 1024
# What is larger is compressed in a thread: it would hold up the other requests for more than 0.1 ms.
_INLINE_BYTES = 16 * 1024
# Longer ones are nobody's, and would fill the cache.
_LONGEST_HEADER = 500
_CODINGS = ("zstd", "gzip")
# The fastest level: the next ones save a twentieth more and take two to three times as long.
_LEVEL = 1
_TYPES = frozenset(
    {
        b"application/json",
        b"application/problem+json",
        b"application/x-ndjson",
        b"text/csv",
        b"text/plain",
        b"text/html",
        b"text/css",
        b"text/javascript",
    }
)
_WHOLE = frozenset({200, 400, 422})


@lru_cache(maxsize=256)
def coding_of(accept_encoding: bytes) -> str | None:
    """Return how an answer is to travel. Clients have a few such headers, which come again with every request."""
    if len(accept_encoding) > _LONGEST_HEADER:
        return None
    return best_coding(accept_encoding.decode("latin-1"), _CODINGS)


class Compressor:
    """Passes one answer on, compressed if that is worth it. Its start is held until its size is known."""

    __slots__ = ("_coding", "_send", "_start", "_stream")

    def __init__(self, send: Send, coding: str) -> None:
        self._send = send
        self._coding = coding
        self._start: Message | None = None
        self._stream: _Stream | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            if _worth_it(message):
                self._start = message
            else:
                await self._send(message)
            return
        if message["type"] != "http.response.body":
            await self._send(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._start is not None:
            start, self._start = self._start, None
            # A stream may turn out to be short; and the HEAD of one says what its GET says.
            streams = more or all(name != b"content-length" for name, _ in start["headers"])
            if streams or len(body) >= LEAST_BYTES:
                self._stream = _Stream(self._coding)
                if not more:
                    body = await self._compressed(body, True)
                    self._stream = None
                await self._send({**start, "headers": self._headers(start["headers"], None if more else len(body))})
            else:
                await self._send(start)
        if self._stream is not None:
            body = await self._compressed(body, not more)
        await self._send({"type": "http.response.body", "body": body, "more_body": more})

    async def _compressed(self, body: bytes, last: bool) -> bytes:
        assert self._stream is not None
        if len(body) <= _INLINE_BYTES:
            return self._stream.take(body, last)
        return await asyncio.to_thread(self._stream.take, body, last)

    def _headers(self, headers: Headers, length: int | None) -> Headers:
        """Return the headers of the compressed answer. length: None where it is not known."""
        found: Headers = [(b"content-encoding", self._coding.encode())]
        for name, value in headers:
            if name == b"content-length":
                if length is not None:
                    found.append((name, str(length).encode()))
            elif name == b"etag" and value.startswith(b'"'):
                # Two answers of different bytes may not share a strong tag; If-Match takes both.
                found.append((name, value[:-1] + f'--{self._coding}"'.encode()))
            else:
                found.append((name, value))
        return found


def _worth_it(start: Message) -> bool:
    """Say whether an answer may be compressed, by what its start says."""
    if start["status"] not in _WHOLE:
        return False
    kind = b""
    for name, value in start["headers"]:
        if name == b"content-length" and int(value) < LEAST_BYTES:
            return False
        # What is read by parts stays as it is: parts of a compressed answer would be parts of something else.
        if name == b"content-encoding" or (name == b"accept-ranges" and value == b"bytes"):
            return False
        if name == b"content-type":
            kind = value.split(b";", 1)[0].strip()
    return kind in _TYPES


class _Stream:
    """One compressed stream. Whatever goes in comes out at once, so that a client sees that an export goes on."""

    def __init__(self, coding: str) -> None:
        self._out = Drain()
        self._zstd = pa.CompressedOutputStream(pa.PythonFile(self._out, mode="w"), "zstd") if coding == "zstd" else None
        self._gzip = None if self._zstd is not None else zlib.compressobj(_LEVEL, zlib.DEFLATED, 16 + zlib.MAX_WBITS)

    def take(self, body: bytes, last: bool) -> bytes:
        if self._gzip is not None:
            return self._gzip.compress(body) + self._gzip.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)
        assert self._zstd is not None
        if body:
            self._zstd.write(body)
        if last:
            self._zstd.close()
        else:
            self._zstd.flush()
        return self._out.drain()
