"""``gristmill.testing``: functions carried out in a test, on a database that is given or on a Postgres of its own."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from sqlalchemy import text
from tests.support import own_jobs

from gristmill.core.database import Database
from gristmill.plugin import Conflict, Invalid, JobRun, Unavailable, job_type
from gristmill.testing import Sandbox, call


@pytest.fixture
def sandbox(database_url: str) -> Iterator[Sandbox]:
    with Sandbox(database_url) as found:
        yield found


def notes(sandbox: Sandbox) -> list[Any]:
    with sandbox.transaction() as connection:
        return list(connection.exec_driver_sql("SELECT note FROM data.own_effects ORDER BY at").scalars())


class TestSandbox:
    def test_a_job_takes_the_way_of_every_job(self, sandbox: Sandbox) -> None:
        job = sandbox.run(own_jobs.report, own_jobs.Report(name="May"), labels={"a": "b"})
        assert (job["state"], job["type"], job["labels"]) == ("succeeded", "own.report", {"a": "b"})
        assert job["result"]["name"] == "May"
        assert notes(sandbox) == ["May"]
        with pytest.raises(Invalid, match="name"):
            sandbox.run(own_jobs.report, {"name": ""})

    def test_attempts_are_made_until_they_are_used_up(self, sandbox: Sandbox) -> None:
        attempts: list[int] = []

        @job_type("t.again", max_attempts=3)
        def again(run: JobRun) -> None:
            attempts.append(run.attempt)
            raise Unavailable("not now")

        job = sandbox.run(again)
        assert (job["state"], job["error"]["code"], attempts) == ("failed", "unavailable", [1, 2, 3])

    def test_jobs_that_a_job_has_submitted_are_carried_out_when_asked_for(self, sandbox: Sandbox) -> None:
        job = sandbox.run(own_jobs.chain, {"left": 2})
        sandbox.work()
        assert sandbox.job(job["result"]["next"])["state"] == "succeeded"
        assert notes(sandbox) == ["2", "1", "0"]

    def test_idempotent_functions_and_the_other_queue(self, sandbox: Sandbox, tmp_path: Path) -> None:
        job = sandbox.run(own_jobs.outside, {"folder": str(tmp_path)})
        assert (job["state"], job["result"]) == ("succeeded", {"fence": 1})

        @job_type("t.long", queue="long")
        def long(run: JobRun) -> dict[str, Any]:
            return {"queue": "long"}

        assert sandbox.run(long)["result"] == {"queue": "long"}

    def test_what_does_not_end_in_time_says_how_it_stands(self, sandbox: Sandbox) -> None:
        @job_type("t.never", max_attempts=100)
        def never(run: JobRun) -> None:
            raise Unavailable("not now")

        with pytest.raises(TimeoutError, match=r"after 0\.05 s and \d+ attempts"):
            sandbox.run(never, timeout=0.05)

    def test_a_postgres_of_its_own_is_gone_at_the_end(self) -> None:
        def servers() -> set[int]:
            children = psutil.Process(os.getpid()).children(recursive=True)
            return {child.pid for child in children if child.name() == "postgres"}

        before = servers()
        with Sandbox() as sandbox:

            @job_type("t.version")
            def version(run: JobRun) -> dict[str, Any]:
                return {"version": run.connection.execute(text("SHOW server_version_num")).scalar_one()}

            assert int(sandbox.run(version)["result"]["version"]) >= 180000
            assert servers() - before
        assert servers() == before


class TestCall:
    def test_it_writes_in_the_transaction_of_the_test(self, sandbox: Sandbox, database: Database) -> None:
        with sandbox.transaction() as connection, connection.begin_nested() as savepoint:
            result = call(own_jobs.report, {"name": "May"}, connection, labels={"x": "y"})
            assert result is not None
            assert (result["name"], result["who"], result["labels"]) == ("May", "test", {"x": "y"})
            found = connection.exec_driver_sql("SELECT note FROM data.own_effects").scalars()
            assert list(found) == ["May"]
            savepoint.rollback()
        assert notes(sandbox) == []

    def test_it_raises_what_the_function_raises(self, sandbox: Sandbox) -> None:
        with sandbox.transaction() as connection:
            with pytest.raises(Conflict, match="a bad one"):
                call(own_jobs.small, {"name": "bad"}, connection)
            with pytest.raises(Invalid, match="name"):
                call(own_jobs.report, {}, connection)
            with pytest.raises(TypeError, match="Sandbox"):
                call(own_jobs.outside, {"folder": "."}, connection)
