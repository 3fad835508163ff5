"""REST: the export of a dataset, streamed at the speed of the client."""

import asyncio
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from gristmill.core.config import Settings
from gristmill.core.errors import GristmillError
from gristmill.core.http.bodies import ARROW, CSV
from gristmill.core.http.endpoints import needs
from gristmill.core.http.files import disconnected
from gristmill.core.http.formats import accepted_format
from gristmill.core.http.head import is_head
from gristmill.core.logs import get_logger
from gristmill.records.export.desk import Desk
from gristmill.records.export.scan import ExportQuery
from gristmill.records.export.service import Export, RecordExports
from gristmill.records.read.endpoints import Include, read_where
from gristmill.records.read.shape import split_names

log = get_logger()
# What is given to the server at once; it holds a copy until the client has taken it.
PIECE_BYTES = 256 * 1024

# Formats by their media types, the one that is preferred first.
ACCEPTED = {
    "application/x-ndjson": "ndjson",
    "application/ndjson": "ndjson",
    "application/jsonl": "ndjson",
    CSV: "csv",
    "application/vnd.apache.parquet": "parquet",
    "application/x-parquet": "parquet",
    "application/parquet": "parquet",
    ARROW: "arrow",
}


def build_router(service: RecordExports, settings: Settings) -> APIRouter:
    """Return the route under /datasets/{dataset}."""
    router = APIRouter(prefix="/datasets/{dataset}", tags=["records"], dependencies=[Depends(needs("read"))])
    desk = Desk(settings)

    @router.get("/export")
    async def export_records(
        http: Request,
        dataset: str,
        format: Annotated[
            Literal["csv", "ndjson", "parquet", "arrow"] | None,
            Query(description="the format; `ndjson` if Accept has no other"),
        ] = None,
        start: Annotated[str | None, Query(max_length=64, description="time from, inclusive")] = None,
        end: Annotated[str | None, Query(max_length=64, description="time to, inclusive")] = None,
        where: Annotated[str | None, Query(description="a filter, as JSON")] = None,
        fields: Annotated[str | None, Query(max_length=20_000, description="names, separated by commas")] = None,
        include: Include = None,
    ) -> Response:
        """Stream all matching records as a file. An answer that breaks off was not completed."""
        query = ExportQuery(start, end, read_where(where), split_names(fields), bool(include))
        chosen = format or accepted_format(http.headers.getlist("accept"), ACCEPTED, "an export")
        if is_head(http):
            return _export_answer(await desk.run(partial(service.open, dataset, query, chosen)))
        desk.take()
        try:
            export = await desk.run(partial(service.open, dataset, query, chosen))
            first = await desk.run(export.read)
        except BaseException:
            desk.give_back()
            raise
        return _ExportResponse(export, first, desk)

    return router


class _ExportResponse(Response):
    """Sends the pages as the client takes them.

    Where an export cannot be completed the answer ends without its last chunk and the connection is closed: HTTP
    clients report that as an error, and a Parquet file has no footer.
    """

    def __init__(self, export: Export, first: bytes, desk: Desk) -> None:
        super().__init__()
        self.raw_headers = _export_answer(export).raw_headers
        self._export = export
        self._first = first
        self._desk = desk

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        gone = asyncio.ensure_future(disconnected(receive))
        reason = ""
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            data: bytes | None = self._first
            while data is not None and not gone.done():
                for piece in _pieces(data):
                    async with asyncio.timeout(self._desk.stall):
                        await send({"type": "http.response.body", "body": piece, "more_body": True})
                data = await self._next(gone)
            if data is None:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                reason = "the client is gone"
        except TimeoutError:
            reason = f"the client took nothing for {self._desk.stall} seconds"
        except GristmillError as error:
            reason = error.detail
        finally:
            gone.cancel()
            self._desk.give_back()
            self._log(reason)

    def _log(self, reason: str) -> None:
        file, rows = self._export.file_name, self._export.rows
        if reason:
            log.warning("export.aborted", file=file, rows=rows, reason=reason)
        else:
            log.info("export.ended", file=file, rows=rows)

    async def _next(self, gone: "asyncio.Future[None]") -> bytes | None:
        """Return the next page, None after the last. While Postgres is away the same page is tried again."""
        if self._export.done:
            return None
        deadline = asyncio.get_running_loop().time() + self._desk.patience
        while True:
            try:
                page: bytes = await self._desk.run(self._export.read)
                return page
            except GristmillError as error:
                if not error.retryable or gone.done() or asyncio.get_running_loop().time() > deadline:
                    raise
                log.warning("export.waits", file=self._export.file_name, reason=error.detail)
            await asyncio.wait([gone], timeout=1)


def _export_answer(export: Export) -> Response:
    """Return the head of an export's answer."""
    answer = Response(media_type=export.media_type)
    # The length is not known: the answer is sent in chunks.
    del answer.headers["content-length"]
    answer.headers["content-disposition"] = f'attachment; filename="{export.file_name}"'
    answer.headers["gristmill-horizon"] = export.horizon
    # Each request is an export of its own: parts of two of them do not fit together.
    answer.headers["accept-ranges"] = "none"
    answer.headers["vary"] = "Accept"
    return answer


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]
