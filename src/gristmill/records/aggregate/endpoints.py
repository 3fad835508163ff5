"""REST: aggregates, answered in the format that the client prefers, at its speed."""

import asyncio
from functools import partial
from typing import Any, Literal

from fastapi import Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from gristmill.core.config import Settings
from gristmill.core.http.bodies import read_json
from gristmill.core.http.files import disconnected
from gristmill.core.http.formats import accepted_format
from gristmill.core.http.own_threads import OwnThreads
from gristmill.core.http.routes import Call
from gristmill.core.logs import get_logger
from gristmill.records.aggregate.answer import Answer
from gristmill.records.aggregate.errors import TooManyAggregates
from gristmill.records.aggregate.formats import ACCEPTED
from gristmill.records.aggregate.service import RecordAggregates
from gristmill.records.export.desk import READERS

log = get_logger()
MAX_BODY_BYTES = 4 * 1024 * 1024
# Answers up to this size are sent at once, with their length.
SMALL_BYTES = 256 * 1024


class AggregateQuery(BaseModel):
    """The parameters of the URL."""

    format: Literal["json", "ndjson", "csv", "arrow"] | None = Field(
        None, description="the format; that of Accept without it, `json` if Accept takes it"
    )


class Desk:
    """The aggregates of this process: how many run, and in which threads."""

    def __init__(self, settings: Settings) -> None:
        self.stall = settings.export_stall
        self.run = OwnThreads(min(READERS, max(1, settings.database_pool // 2))).run
        self._most = settings.aggregate_concurrent
        self._open = 0

    def take(self) -> None:
        """Raises TooManyAggregates."""
        if self._open >= self._most:
            raise TooManyAggregates(
                f"{self._open} aggregates are running, and this process serves {self._most} at once"
                " (aggregate_concurrent)",
                retry_after=2,
            )
        self._open += 1

    def give_back(self) -> None:
        self._open -= 1


def build_calls(service: RecordAggregates, settings: Settings) -> list[Call[Any]]:
    """Return the call under /datasets/{dataset}."""
    desk = Desk(settings)

    async def aggregate_records(http: Request, query: AggregateQuery) -> Response:
        """Compute buckets, groups and measures, or windows over the records themselves.

        The answer is computed whole before it begins: one that begins was computed without an error, and one that
        breaks off did so on its way.
        """
        format = query.format or accepted_format(http.headers.getlist("accept"), ACCEPTED, "an aggregate")
        raw = await read_json(http, MAX_BODY_BYTES, "An aggregate")
        desk.take()
        try:
            answer = await desk.run(partial(service.answer, http.path_params["dataset"], raw, format))
        except BaseException:
            desk.give_back()
            raise
        if answer.size > SMALL_BYTES:
            return _AggregateResponse(answer, desk)
        try:
            content = await desk.run(partial(b"".join, answer.pieces()))
        finally:
            answer.close()
            desk.give_back()
        return Response(content, headers=_headers(answer))

    return [
        Call(
            "POST",
            "/datasets/{dataset}/aggregate",
            "read",
            aggregate_records,
            AggregateQuery,
            "records",
        )
    ]


class _AggregateResponse(Response):
    """Sends an answer as the client takes it, and deletes it then."""

    def __init__(self, answer: Answer, desk: Desk) -> None:
        super().__init__()
        head = Response(headers=_headers(answer))
        # The length is not known: the answer is sent in chunks.
        del head.headers["content-length"]
        self.raw_headers = head.raw_headers
        self._answer = answer
        self._desk = desk

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        gone = asyncio.ensure_future(disconnected(receive))
        reason = "the client is gone"
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            pieces = self._answer.pieces()
            while not gone.done():
                piece = await self._desk.run(partial(next, pieces, None))
                async with asyncio.timeout(self._desk.stall):
                    await send({"type": "http.response.body", "body": piece or b"", "more_body": piece is not None})
                if piece is None:
                    reason = ""
                    return
        except TimeoutError:
            reason = f"the client took nothing for {self._desk.stall} seconds"
        finally:
            gone.cancel()
            self._answer.close()
            self._desk.give_back()
            if reason:
                log.warning("aggregate.aborted", rows=self._answer.rows, bytes=self._answer.size, reason=reason)


def _headers(answer: Answer) -> dict[str, str]:
    return {"content-type": answer.format.media_type, "vary": "Accept"}
