"""What the routes that take a body share: it is streamed to the spool and never held in memory whole."""

import contextlib
import hashlib
from collections.abc import AsyncIterator

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from gristmill.core.errors import TooLarge, UnsupportedMedia
from gristmill.core.http.bodies import FORM, blocks, media_type_name
from gristmill.records.content_encoding import content_encoding
from gristmill.records.form_file import FormFile
from gristmill.records.spool import MEMORY_BYTES, BodySpool, Spool

# Says nothing about what is written: a client may repeat a request and wait longer for its answer.
_NOT_IDENTITY = frozenset({"wait"})


@contextlib.asynccontextmanager
async def spooled_body(
    http: Request,
    spool: Spool,
    max_bytes: int,
    compressed: bool = False,
    form: FormFile | None = None,
    part: bool = False,
) -> AsyncIterator[BodySpool]:
    """Give the whole body, spooled and decompressed, until the block ends.

    compressed: whether it may be compressed. form: what takes the file out of a form; that is the body then.
    part: a compressed body is inflated as far as ``max_bytes`` go, and may be the first part of one.

    Raises TooLarge (by Content-Length before anything is read, else while it streams in or is decompressed),
    UnsupportedMedia for a Content-Encoding, Malformed for a body that cannot be decompressed, Unavailable when the
    spool is full.
    """
    encoding = content_encoding(http.headers.get("content-encoding", ""))
    if encoding is not None and not compressed:
        raise UnsupportedMedia(f"The Content-Encoding {encoding!r} is not supported here: send the body as it is")
    if encoding is not None and form is not None:
        raise UnsupportedMedia(f"A form with the Content-Encoding {encoding!r} is not supported: compress its file")
    length = http.headers.get("content-length", "")
    if length.isdigit() and int(length) > max_bytes:
        raise TooLarge(f"The body has {int(length)} bytes: at most {max_bytes} are allowed", max_bytes=max_bytes)
    body = BodySpool(spool, max_bytes, _identity(http) if "idempotency-key" in http.headers else None)
    try:
        waiting: list[bytes] = []
        size = received = 0
        async for block in blocks(http):
            if form is not None:
                received += len(block)
                if received > max_bytes:
                    raise TooLarge(f"The body is larger than {max_bytes} bytes", max_bytes=max_bytes)
                block = form.feed(block)
            waiting.append(block)
            size += len(block)
            if size >= MEMORY_BYTES:
                await run_in_threadpool(body.write, b"".join(waiting))
                waiting, size = [], 0
        # What fits into memory is written without leaving the event loop.
        if body.size + size <= MEMORY_BYTES:
            body.write(b"".join(waiting))
        else:
            await run_in_threadpool(body.write, b"".join(waiting))
        if form is not None:
            form.finish()
            encoding = form.encoding
            body.identify(f"{form.media_type} {encoding}")
        if encoding is not None:
            await run_in_threadpool(body.decompress, encoding, part)
        yield body
    finally:
        body.close()


def hash_without_body(http: Request) -> str | None:
    """Return what ``body_hash`` of an empty body is, for a call that takes none."""
    return hashlib.sha256(_identity(http) + b"\0").hexdigest() if "idempotency-key" in http.headers else None


def _identity(http: Request) -> bytes:
    """Return what, beside the body, must be equal for a request to be a replay of another."""
    given = http.query_params.multi_items() if http.scope["query_string"] else []
    query = sorted((name, value) for name, value in given if name not in _NOT_IDENTITY)
    kind = http.headers.get("content-type", "")
    # Each form has another boundary.
    kind = FORM if media_type_name(kind) == FORM else kind
    parts = [http.method, http.scope["path"], repr(query), kind]
    for name in ("content-encoding", "if-match"):
        parts += http.headers.getlist(name)
    return "\n".join(parts).encode("utf-8", "surrogateescape")
