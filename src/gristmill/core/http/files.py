"""A stored file as an answer: whole or in parts (RFC 9110, 14), under conditions, at the speed of the client.

An answer that cannot be completed breaks off before its Content-Length is reached, and the connection is closed:
clients report that, and never take a part for the whole.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime
from functools import partial
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from gristmill.core.errors import GristmillError, PreconditionFailed, RangeNotSatisfiable
from gristmill.core.http.conditions import if_match, not_modified
from gristmill.core.http.head import is_head
from gristmill.core.logs import get_logger
from gristmill.kit.byte_ranges import Span, TooManyRanges, read_ranges
from gristmill.kit.entity_tags import Tag

log = get_logger()
Run = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs something in a thread."""
Segment = bytes | Span


class Source(Protocol):
    """What is read from; see the port of the storage."""

    size: int
    piece: int

    def read(self, start: int, length: int) -> bytes: ...

    def close(self) -> None: ...


class HeldFile:
    """A file that is held in memory."""

    piece = 256 * 1024

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, start: int, length: int) -> bytes:
        return self._data[start : start + length]

    def close(self) -> None:
        """Nothing else is held."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that is open. name: for messages. changed: when it got its content, in UTC; None where that is not known.

    headers: those of every answer with content, Content-Type among them.
    """

    source: Source
    name: str
    tag: Tag
    changed: datetime | None
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sending:
    """How a file is sent. run: for reads. ended: called once. stall: seconds in which a client may take nothing."""

    run: Run
    ended: Callable[[], None]
    stall: float


def file_answer(http: Request, file: StoredFile, sending: Sending) -> "FileAnswer":
    """Return the answer to a GET or HEAD of a file; once it is sent, the source is closed.

    Raises PreconditionFailed, RangeNotSatisfiable, and Invalid for headers that cannot be read.
    """
    size = file.source.size
    modified = "" if file.changed is None else format_datetime(file.changed, usegmt=True)
    common = {"Accept-Ranges": "bytes", "ETag": str(file.tag), **({"Last-Modified": modified} if modified else {})}
    wanted = if_match(http)
    if wanted is not None and file.tag.value not in wanted:
        raise PreconditionFailed(f"The file has the ETag {file.tag}, and If-Match names others", etag=str(file.tag))
    same = not_modified(http, file.tag)
    if same is not None:
        return FileAnswer(file, sending, 304, [], {**common, **same})
    headers = {**file.headers, **common}
    spans = None if is_head(http) else _spans(http, size, file.tag, modified)
    if spans is None:
        return FileAnswer(file, sending, 200, [(0, size)], headers)
    if not spans:
        raise RangeNotSatisfiable(f"Range: {http.headers['range'][:80]!r} names none of the {size} bytes", size)
    if len(spans) == 1:
        headers["Content-Range"] = _content_range(spans[0], size)
        return FileAnswer(file, sending, 206, [spans[0]], headers)
    boundary = secrets.token_hex(16)
    segments = list(_parts(spans, size, boundary, headers["Content-Type"]))
    headers["Content-Type"] = f"multipart/byteranges; boundary={boundary}"
    return FileAnswer(file, sending, 206, segments, headers)


class FileAnswer(Response):
    """Sends segments: bytes as they are, or spans of the file."""

    def __init__(
        self, file: StoredFile, sending: Sending, status: int, segments: list[Segment], headers: Mapping[str, str]
    ) -> None:
        super().__init__(status_code=status, headers=dict(headers))
        self._length = sum(len(one) if isinstance(one, bytes) else one[1] - one[0] for one in segments)
        if status != 304:
            self.headers["content-length"] = str(self._length)
        self._file = file
        self._sending = sending
        self._segments = segments

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        gone = asyncio.ensure_future(disconnected(receive))
        reason, sent = "the client is gone", 0
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            # The application sees a GET where the client has sent HEAD; nothing is read for that.
            for piece in () if "head" in scope["state"] else self._pieces():
                if gone.done():
                    return
                data = piece if isinstance(piece, bytes) else await self._sending.run(piece)
                async with asyncio.timeout(self._sending.stall):
                    await send({"type": "http.response.body", "body": data, "more_body": True})
                sent += len(data)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
            reason = ""
        except TimeoutError:
            reason = f"the client took nothing for {self._sending.stall} seconds"
        except GristmillError as error:
            reason = error.detail
        finally:
            gone.cancel()
            self._file.source.close()
            self._sending.ended()
            if reason:
                log.warning("file.aborted", file=self._file.name, sent=sent, of=self._length, reason=reason)

    def _pieces(self) -> Iterator[bytes | Callable[[], bytes]]:
        source = self._file.source
        for segment in self._segments:
            if isinstance(segment, bytes):
                yield segment
                continue
            for start in range(*segment, source.piece):
                yield partial(source.read, start, min(source.piece, segment[1] - start))


def _spans(http: Request, size: int, tag: Tag, modified: str) -> list[Span] | None:
    """Return the parts that are asked for; None for the whole file."""
    header = http.headers.get("range")
    if header is None:
        return None
    condition = http.headers.get("if-range", "").strip()
    # Only what is exactly the same may be completed from parts.
    if condition and condition not in (str(tag), modified):
        return None
    try:
        return read_ranges(header, size)
    except TooManyRanges as error:
        raise RangeNotSatisfiable(str(error), size) from error


def _content_range(span: Span, size: int) -> str:
    return f"bytes {span[0]}-{span[1] - 1}/{size}"


def _parts(spans: list[Span], size: int, boundary: str, media_type: str) -> Iterator[Segment]:
    for span in spans:
        head = f"\r\n--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {_content_range(span, size)}\r\n\r\n"
        yield head.encode()
        yield span
    yield f"\r\n--{boundary}--\r\n".encode()


async def disconnected(receive: Any) -> None:
    """Return when the client is gone; for an answer whose request has been read whole."""
    while (await receive())["type"] != "http.disconnect":
        pass
