"""The same endpoint on procrastinate: FastAPI checks a record with pydantic and defers a job that upserts the row.

``POST /api/v1/records`` answers 202 when the job and the request's Idempotency-Key are stored, in one transaction: the
same key again gets the first job. ``?wait=30`` holds the answer until the job has ended.
The address of Postgres is in ``PEER_URL``. ``uvicorn benchmarks.peers.procrastinate_app:api`` serves it,
``procrastinate --app=benchmarks.peers.procrastinate_app.queue worker`` works.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated, Any

import procrastinate
import psycopg
import psycopg_pool
from fastapi import FastAPI, Header
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

URL = os.environ["PEER_URL"]
TABLE = """
CREATE TABLE IF NOT EXISTS records (id text PRIMARY KEY, at timestamptz NOT NULL, value double precision, note text);
CREATE TABLE IF NOT EXISTS keys (key text PRIMARY KEY, job bigint NOT NULL)
"""
_UPSERT = """
INSERT INTO records (id, at, value, note) VALUES (%(id)s, %(at)s, %(value)s, %(note)s)
ON CONFLICT (id) DO UPDATE SET at = EXCLUDED.at, value = EXCLUDED.value, note = EXCLUDED.note
"""
_KEY = "INSERT INTO keys (key, job) VALUES (%s, %s)"
_FIRST = "SELECT job FROM keys WHERE key = %s"
_ENDED = "SELECT id FROM procrastinate_jobs WHERE id = ANY(%s) AND status NOT IN ('todo', 'doing')"
# How often the requests that wait are looked after, all of them by one statement.
_LOOK_SECONDS = 0.02

queue = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=URL, max_size=20))
_pool: psycopg_pool.AsyncConnectionPool | None = None
_waiting: dict[int, asyncio.Event] = {}


class Record(BaseModel):
    """One record, as strict as the contract of the dataset that Gristmill writes."""

    model_config = ConfigDict(extra="forbid")
    id: str = Field(max_length=64)
    at: AwareDatetime
    value: float | None = None
    note: str | None = None


class Batch(BaseModel):
    model_config = ConfigDict(extra="forbid")
    records: list[Record]


async def _connections() -> psycopg_pool.AsyncConnectionPool:
    global _pool
    if _pool is None:
        _pool = psycopg_pool.AsyncConnectionPool(URL, min_size=2, max_size=30, open=False)
        await _pool.open()
    return _pool


@queue.task(name="upsert")
async def upsert(records: list[dict[str, Any]]) -> None:
    rows = [{**record, "at": datetime.fromisoformat(record["at"])} for record in records]
    async with (await _connections()).connection() as connection, connection.cursor() as cursor:
        await cursor.executemany(_UPSERT, rows)


async def _look() -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        if _waiting:
            async with (await _connections()).connection() as connection:
                ended = await (await connection.execute(_ENDED, (list(_waiting),))).fetchall()
            for (job,) in ended:
                # It may have gone while the statement ran: it was told by the one before.
                if job in _waiting:
                    _waiting[job].set()


@asynccontextmanager
async def _open(_: FastAPI) -> AsyncIterator[None]:
    async with queue.open_async():
        looking = asyncio.create_task(_look())
        yield
        looking.cancel()


api = FastAPI(lifespan=_open)


@api.post("/api/v1/records", status_code=202)
async def submit(batch: Batch, idempotency_key: Annotated[str, Header()], wait: int = 0) -> dict[str, Any]:
    records = batch.model_dump(mode="json")["records"]
    pool = await _connections()
    try:
        async with pool.connection() as connection:
            job = await upsert.configure(connection=connection).defer_async(records=records)
            await connection.execute(_KEY, (idempotency_key, job))
    except psycopg.errors.UniqueViolation:
        async with pool.connection() as connection:
            first = await (await connection.execute(_FIRST, (idempotency_key,))).fetchone()
        assert first is not None
        return {"id": first[0]}
    if wait:
        ended = _waiting[job] = asyncio.Event()
        try:
            # Whoever waited in vain gets the unfinished job, as from Gristmill.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), wait)
        finally:
            del _waiting[job]
    return {"id": job}
