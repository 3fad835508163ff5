"""REST: stored exports, and their files, which are read whole or in parts."""

import base64
import hashlib
from datetime import UTC
from email.utils import format_datetime
from functools import partial
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse, Response
from starlette.concurrency import run_in_threadpool

from gristmill.core.config import Settings
from gristmill.core.http.bodies import read_json
from gristmill.core.http.endpoints import LINK, needs, principal_of
from gristmill.core.http.files import FileAnswer, Sending, StoredFile, file_answer
from gristmill.core.http.idempotency import request_hash
from gristmill.core.http.links import next_page
from gristmill.core.http.own_threads import OwnThreads
from gristmill.core.http.turns import Turns
from gristmill.jobs.endpoints import answer_write, request_of, write_options
from gristmill.kit.entity_tags import Tag
from gristmill.records.export.desk import TooManyExports
from gristmill.records.export.formats import MEDIA_TYPES as FORMATS
from gristmill.records.export.stored.request import read_link_request
from gristmill.records.export.stored.service import OpenExport, StoredExports

MAX_BODY_BYTES = 1024 * 1024
# Files that are read at the same moment, and that are being sent: who reads by parts asks for several at once.
READERS = 4
SENT_AT_ONCE = 64
# Of archives of many files, and of these, by their suffixes.
ARCHIVE = "application/zip"
MEDIA_TYPES = {**FORMATS, "jpg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif"}
# Seconds that a request waits for its turn.
PATIENCE = 30.0


def build_router(service: StoredExports, settings: Settings) -> APIRouter:
    """Return the routes under /datasets/{dataset}/exports and /exports."""
    router = APIRouter(tags=["exports"])
    downloads = _Downloads()

    @router.post(
        "/datasets/{dataset}/exports",
        status_code=202,
        dependencies=[Depends(needs("write")), Depends(write_options)],
    )
    async def create_export(http: Request, dataset: str) -> Response:
        """Make a file of all matching records in the storage, to be read until it expires. The answer is its job."""
        body = await read_json(http, MAX_BODY_BYTES, "A request for an export")
        request = request_of(http, request_hash(http, body))
        # It looks at the storage, which may be slow.
        job = await downloads.run(partial(service.create, dataset, body, request))
        return await answer_write(http, job, request)

    @router.get("/exports", dependencies=[Depends(needs("read"))])
    def list_exports(
        http: Request,
        dataset: Annotated[str | None, Query(max_length=100, description="of this dataset only")] = None,
        page_size: Annotated[int, Query(ge=1, le=1000)] = 100,
        page_token: Annotated[str | None, Query(max_length=2000)] = None,
    ) -> JSONResponse:
        """List the stored exports that can be read, newest first."""
        page = service.list(dataset, page_size, page_token)
        return JSONResponse(page, headers=next_page(http, page["next_page_token"]))

    @router.get("/exports/{export_id}", dependencies=[Depends(needs("read"))])
    def get_export(export_id: str) -> JSONResponse:
        """Return a stored export: size, checksum, rows, expiry, and where its file is."""
        return JSONResponse(service.get(export_id))

    @router.delete(
        "/exports/{export_id}", status_code=202, dependencies=[Depends(needs("write")), Depends(write_options)]
    )
    async def delete_export(http: Request, export_id: str) -> Response:
        """Delete a stored export: nobody can read it from now on, and a job removes its file."""
        request = request_of(http, request_hash(http, b""))
        return await answer_write(http, await run_in_threadpool(service.delete, export_id, request), request)

    @router.post("/exports/{export_id}/link", dependencies=[Depends(needs("read"))])
    async def link_export(http: Request, export_id: str) -> JSONResponse:
        """Return a link to the file that needs no key, for a while: for tools that only take an address."""
        seconds = read_link_request(await read_json(http, 1024, "A request for a link"))
        return JSONResponse(await run_in_threadpool(service.link, export_id, seconds))

    @router.get("/exports/{export_id}/{file_name}", dependencies=[Depends(needs("link"))])
    async def read_export(
        http: Request,
        export_id: str,
        file_name: str,
        expires: Annotated[str | None, Query(max_length=20, description="of a link")] = None,
        signature: Annotated[str | None, Query(max_length=100, description="of a link")] = None,
        range: Annotated[str | None, Header(description="bytes=first-last, several with commas")] = None,
        if_range: Annotated[
            str | None, Header(description="ETag or Last-Modified: the whole file if it is another")
        ] = None,
        if_match: Annotated[str | None, Header(description="ETags: 412 where none is the file's")] = None,
        if_none_match: Annotated[str | None, Header(description="ETags: 304 where one is the file's")] = None,
    ) -> Response:
        """Read the file of a stored export, whole or in parts (`Range`)."""
        # A link opens its file whoever shows it, and a wrong one nothing.
        linked = signature is not None or principal_of(http) == LINK
        link = (expires or "", signature or "") if linked else None
        await downloads.take()
        try:
            found = await downloads.run(partial(service.open, export_id, file_name, link))
            return _file_of(http, found, downloads, settings.export_stall)
        except BaseException:
            downloads.give_back()
            raise

    @router.get("/exports/{export_id}/files/{path:path}", dependencies=[Depends(needs("read"))])
    async def read_export_file(
        http: Request,
        export_id: str,
        path: str,
        range: Annotated[str | None, Header(description="bytes=first-last, several with commas")] = None,
        if_range: Annotated[
            str | None, Header(description="ETag or Last-Modified: the whole file if it is another")
        ] = None,
        if_match: Annotated[str | None, Header(description="ETags: 412 where none is the file's")] = None,
        if_none_match: Annotated[str | None, Header(description="ETags: 304 where one is the file's")] = None,
    ) -> Response:
        """Read one file of a stored export that has many: an image, `metadata.csv` or `failures.csv`."""
        await downloads.take()
        try:
            found = await downloads.run(partial(service.open_one, export_id, path))
            return _file_of(http, found, downloads, settings.export_stall)
        except BaseException:
            downloads.give_back()
            raise

    return router


class _Downloads:
    """Sends files: a bounded number at once, read in threads that no other call waits for."""

    def __init__(self) -> None:
        self.run = OwnThreads(READERS).run
        turns = Turns(SENT_AT_ONCE, PATIENCE, _too_many)
        self.take, self.give_back = turns.take, turns.give_back


def _too_many() -> TooManyExports:
    return TooManyExports(f"{SENT_AT_ONCE} files are being sent, as many as can be at once", 5)


def _kind_of(found: OpenExport) -> dict[str, str]:
    """Return the headers that say what a file is."""
    row = found.row
    if found.path:
        kind = MEDIA_TYPES.get(PurePosixPath(found.path).suffix[1:], "application/octet-stream")
        # Browsers show what it says to be and guess nothing else: the bytes may be those that a client sent.
        return {"Content-Type": kind, "Content-Disposition": "inline", "X-Content-Type-Options": "nosniff"}
    headers = {
        "Content-Type": ARCHIVE if row.is_folder else MEDIA_TYPES[row.format],
        "Content-Disposition": f'attachment; filename="{row.file_name}"',
    }
    if row.sha256 is not None:
        # Of the whole file, also where a part of it is sent (RFC 9530).
        digest = base64.b64encode(bytes.fromhex(row.sha256)).decode()
        headers["Repr-Digest"] = f"sha-256=:{digest}:"
    return headers


def _file_of(http: Request, found: OpenExport, downloads: _Downloads, stall: float) -> FileAnswer:
    row = found.row
    assert row.ready_at is not None
    assert row.expires_at is not None
    headers = {
        **_kind_of(found),
        "Expires": format_datetime(row.expires_at.astimezone(UTC), usegmt=True),
        "Cache-Control": "private, no-transform",
    }
    # What is ready never changes, so that the place of a file stands for its bytes where no checksum was made of them.
    place = f"{row.files}/{found.path}" if row.is_folder else row.stored_name
    tag = hashlib.sha256(place.encode()).hexdigest() if row.sha256 is None else row.sha256
    file = StoredFile(found.source, place, Tag(tag[:32]), row.ready_at.astimezone(UTC), headers)
    try:
        return file_answer(http, file, Sending(downloads.run, downloads.give_back, stall))
    except BaseException:
        found.source.close()
        raise
