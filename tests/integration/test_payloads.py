"""Payloads on real Postgres: one COPY stages those of a job, a claim brings the small ones, COPY reads the others."""

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gristmill.core.database import Database
from gristmill.jobs.repository import claim, payloads
from gristmill.jobs.submit import NewChunk, NewJob, WriteRequest, submit, submit_once
from gristmill.kit.ids import uuid7

SMALL, LARGE = b"small", os.urandom(payloads.COPY_FROM_BYTES) + b"\n\\.\n\0"


def _submit(database: Database, chunks: Iterator[NewChunk] | list[NewChunk]) -> uuid.UUID:
    job = NewJob("test.any", uuid.uuid4().hex, False, {}, None, chunks)
    return submit_once(database, WriteRequest("test", "r"), lambda _: job)


def _chunks(*parts: bytes | None) -> list[NewChunk]:
    return [NewChunk(number * 10, 10, part) for number, part in enumerate(parts)]


def _claimed(database: Database, job_id: uuid.UUID, number: int) -> tuple[bytes | None, bool]:
    """Claim the chunk as if a message for it had been sent; return what came with it, and whether more is to come."""
    with database.autocommit() as connection:
        connection.exec_driver_sql(
            "UPDATE gristmill.chunks SET state = 'sent', dispatch = 7 WHERE job_id = %s AND number = %s",
            (str(job_id), number),
        )
        (row,) = claim.claim_all(connection, [(job_id, number, 7)], 60, "test")
    assert row["claimed"]
    return (None if row["data"] is None else bytes(row["data"]), bool(row["large"]))


def _own_memory_mib(pid: int) -> int:
    """The memory of a process of Postgres on this machine that it shares with nobody."""
    (line,) = [text for text in Path(f"/proc/{pid}/status").read_text().splitlines() if text.startswith("RssAnon:")]
    return int(line.split()[1]) // 1024


class TestPayloads:
    @pytest.mark.parametrize("parts", [(SMALL,), (LARGE,), (None,), (SMALL, LARGE), (LARGE, SMALL, b""), (LARGE,) * 3])
    def test_every_chunk_gets_its_own_bytes_back(self, database: Database, parts: tuple[bytes | None, ...]) -> None:
        job_id = _submit(database, iter(_chunks(*parts)))
        for number, part in enumerate(parts):
            data, large = _claimed(database, job_id, number)
            with database.autocommit() as connection:
                fetched = payloads.fetch(connection, job_id, number)
            assert large == (part == LARGE)
            assert data == (None if part is None or large else part)
            assert fetched == (part or None)

    def test_what_is_staged_counts_its_bytes(self, database: Database) -> None:
        job_id = _submit(database, _chunks(SMALL, LARGE))
        with database.autocommit() as connection:
            found = connection.exec_driver_sql(
                "SELECT number, bytes FROM gristmill.payloads WHERE job_id = %s ORDER BY number", (str(job_id),)
            )
            assert [tuple(row) for row in found] == [(0, len(SMALL)), (1, len(LARGE))]

    @pytest.mark.promise(7)
    def test_postgres_holds_a_few_payloads_and_not_all_of_them(self, database: Database) -> None:
        """Of one binary COPY it would hold up to a thousand rows, whatever their size."""
        data, seen = os.urandom(4 * 1024 * 1024), []
        with database.engine.connect() as connection:
            pid = int(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())

            def parts() -> Iterator[bytes]:
                for _ in range(50):
                    yield data
                    seen.append(_own_memory_mib(pid))

            payloads.stage(connection, uuid7(), parts())
            staged = connection.exec_driver_sql("SELECT count(*), sum(bytes) FROM gristmill.payloads").one()
            connection.rollback()
        assert tuple(staged) == (50, 50 * len(data))
        assert max(seen) < 100

    def test_a_payload_that_cannot_be_read_leaves_nothing_behind_and_its_own_error(self, database: Database) -> None:
        def broken() -> Iterator[NewChunk]:
            yield from _chunks(LARGE, LARGE)
            raise OSError("the disk of the spool is gone")

        with pytest.raises(OSError, match="the spool is gone"):
            _submit(database, broken())
        with database.autocommit() as connection:
            counts = "SELECT (SELECT count(*) FROM gristmill.payloads), (SELECT count(*) FROM gristmill.jobs)"
            assert tuple(connection.exec_driver_sql(counts).one()) == (0, 0)

    def test_staging_may_take_longer_than_any_other_statement(self, database_url: str) -> None:
        impatient = Database(database_url, "test", pool=2, statement_timeout=1)

        def slow() -> Iterator[NewChunk]:
            first, *others = _chunks(LARGE, LARGE, LARGE)
            yield first
            time.sleep(1.2)  # The disk that the spool is on is slow.
            yield from others

        with impatient.transaction() as connection:
            submit(connection, NewJob("test.any", "scope", False, {}, None, slow()), WriteRequest("test", "r"))
            left = connection.exec_driver_sql("SHOW statement_timeout").scalar()
        with impatient.autocommit() as connection:
            staged = connection.exec_driver_sql("SELECT count(*) FROM gristmill.payloads").scalar()
        impatient.close()
        assert (staged, left) == (3, "1s")

    def test_there_is_nothing_to_fetch_once_the_chunk_is_done(self, database: Database) -> None:
        with database.autocommit() as connection:
            assert payloads.fetch(connection, uuid.uuid4(), 0) is None
