"""Functions that do what they should not: the job says so, and nothing of it stays that was not promised to."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from tests.support.in_process import InProcess

from gristmill import plugin
from gristmill.jobs.job_types.functions import handler_of
from gristmill.jobs.job_types.transactions import Limits
from gristmill.jobs.repository.dispatch import mark_sent


@pytest.fixture
def app(database_url: str) -> Iterator[InProcess]:
    found = InProcess(database_url, jobs_plugins="tests.support.own_jobs", jobs_retry_base=0.001)
    with found.http:
        yield found
    found.gristmill.database.close()


def run(app: InProcess, do: str, **args: Any) -> dict[str, Any]:
    answer = app.http.post("/api/v1/jobs", json={"type": "own.faulty", "args": {"do": do, **args}})
    assert answer.status_code == 202, answer.text
    return finished(app, answer.json()["id"])


def finished(app: InProcess, job_id: str) -> dict[str, Any]:
    for _ in range(1000):
        app.work()
        job = app.http.get(f"/api/v1/jobs/{job_id}?wait=0.02").json()
        if job["done"]:
            return dict(job)
    raise AssertionError(job)


def effects(app: InProcess) -> list[int]:
    with app.gristmill.database.autocommit() as connection:
        return list(connection.exec_driver_sql("SELECT attempt FROM data.own_effects ORDER BY at").scalars())


class TestRaises:
    def test_an_exception_fails_the_job_at_once_and_is_named(self, app: InProcess) -> None:
        job = run(app, "raise")
        assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 1, "internal")
        assert job["error"]["detail"] == "ZeroDivisionError: no such number"
        assert effects(app) == []

    def test_a_listed_exception_is_tried_again_until_the_attempts_are_used_up(self, app: InProcess) -> None:
        job = run(app, "raise_listed")
        assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 2, "unavailable")
        assert "ConnectionError: nobody answers" in job["error"]["detail"]
        assert effects(app) == []

    def test_a_listed_exception_that_passes_is_forgotten(self, app: InProcess) -> None:
        job = run(app, "raise_listed", until=2)
        assert (job["state"], job["result"], job["error"]) == ("succeeded", {"attempt": 2}, None)
        assert effects(app) == [2]


class TestResults:
    @pytest.mark.parametrize(
        ("do", "said"),
        [
            ("nan", "/days/1: nan is no JSON"),
            ("nul", "/text: a text with NUL"),
            ("object", "no form in JSON"),
            ("list", "a list, [1, 2]"),
            ("large", "at most 65536"),
        ],
    )
    def test_what_cannot_be_stored_fails_the_job_and_nothing_is_kept(self, app: InProcess, do: str, said: str) -> None:
        job = run(app, do)
        assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 1, "bad_result")
        assert said in job["error"]["detail"]
        assert effects(app) == []

    def test_times_decimals_and_ids_are_texts(self, app: InProcess) -> None:
        job = run(app, "values")
        assert job["result"] == {
            "at": "2026-01-01T00:00:00Z",
            "id": "00000000-0000-0000-0000-000000000007",
            "d": "1.10",
            "numpy": [7, 0.5],
        }


class TestTransactions:
    @pytest.mark.parametrize(
        ("do", "said"),
        [
            ("commit", "called commit()"),
            ("commit_caught", "called commit()"),
            ("rollback", "called rollback()"),
            ("close", "rollback()"),
            ("leave_savepoint", "savepoint open"),
            ("swallow", "went on after a statement had failed"),
            ("sql_rollback", "by a statement of its own"),
        ],
    )
    def test_one_that_is_not_kept_fails_the_job_and_nothing_is_kept(self, app: InProcess, do: str, said: str) -> None:
        job = run(app, do)
        assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 1, "transaction_ended")
        assert said in job["error"]["detail"]
        assert effects(app) == []
        assert run(app, "none", until=0)["state"] == "succeeded", "the connection is as good as before"

    @pytest.mark.parametrize("do", ["sql_commit", "sql_commit_begin", "raw_commit"])
    def test_one_that_is_committed_past_the_guard_is_noticed(self, app: InProcess, do: str) -> None:
        job = run(app, do)
        assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 1, "transaction_ended")
        assert "what it committed stays" in job["error"]["detail"]
        assert effects(app) == [1]
        assert run(app, "none", until=0)["state"] == "succeeded"

    def test_an_idempotent_function_that_leaves_one_open_fails_and_takes_no_connection_with_it(
        self, app: InProcess, tmp_path: Path
    ) -> None:
        for _ in range(12):
            answer = app.http.post(
                "/api/v1/jobs", json={"type": "own.outside", "args": {"folder": str(tmp_path), "leak": True}}
            )
            job = finished(app, answer.json()["id"])
            assert (job["state"], job["error"]["code"]) == ("failed", "transaction_ended")
            assert "1 transactions open" in job["error"]["detail"]
        body = {"type": "own.outside", "args": {"folder": str(tmp_path)}}
        assert finished(app, app.http.post("/api/v1/jobs", json=body).json()["id"])["state"] == "succeeded"

    def test_each_kind_of_function_is_told_what_the_other_has(self, app: InProcess) -> None:
        job = run(app, "database")
        assert (job["state"], job["error"]["code"]) == ("failed", "internal")
        assert "declare the job type idempotent" in job["error"]["detail"]

    def test_orm_sessions_and_frames_write_in_it(self, app: InProcess) -> None:
        class Base(DeclarativeBase):
            pass

        class Effect(Base):
            __tablename__ = "own_effects"
            __table_args__ = {"schema": "data"}  # noqa: RUF012 - as SQLAlchemy has it
            note: Mapped[str] = mapped_column(primary_key=True)

        @plugin.job_type("own.libraries")
        def libraries(run: plugin.JobRun) -> dict[str, Any]:
            with Session(run.connection) as session:
                session.add(Effect(note="by a session"))
                session.commit()
            pd.DataFrame({"note": ["by a frame"]}).to_sql(
                "own_effects", run.connection, schema="data", if_exists="append", index=False
            )
            with run.connection.begin_nested() as savepoint:
                run.connection.execute(text("DELETE FROM data.own_effects"))
                savepoint.rollback()
            return {}

        app.executor._registry.add(handler_of(libraries, app.gristmill.database, Limits(30, 60)))
        with app.gristmill.database.transaction() as connection:
            job_id = plugin.submit_job(connection, libraries)
        assert finished(app, str(job_id))["state"] == "succeeded"
        with app.gristmill.database.autocommit() as connection:
            found = connection.exec_driver_sql("SELECT note FROM data.own_effects ORDER BY 1").scalars()
            assert list(found) == ["by a frame", "by a session"]

    def test_limits_of_the_transaction_are_those_of_the_queue_and_end_with_it(self, app: InProcess) -> None:
        shown: list[str] = []

        @plugin.job_type("own.limits")
        def limits(run: plugin.JobRun) -> None:
            for name in ("statement_timeout", "idle_in_transaction_session_timeout"):
                shown.append(run.connection.execute(text(f"SHOW {name}")).scalar_one())

        app.executor._registry.add(handler_of(limits, app.gristmill.database, Limits(300, 390)))
        with app.gristmill.database.transaction() as connection:
            job_id = plugin.submit_job(connection, limits)
        assert finished(app, str(job_id))["state"] == "succeeded"
        assert shown == ["5min", "390s"]
        with app.gristmill.database.transaction() as connection:
            assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == "30s"


class TestOtherVersions:
    """A worker that is older than the API."""

    def test_a_type_that_the_worker_does_not_know_waits_and_says_so(self, app: InProcess) -> None:
        handler = app.executor._registry._handlers.pop("own.plain")
        job_id = app.http.post("/api/v1/jobs", json={"type": "own.plain", "max_attempts": 1}).json()["id"]
        for _ in range(3):
            self.attempt(app)
        job = app.http.get(f"/api/v1/jobs/{job_id}").json()
        assert (job["done"], job["attempt"]) == (False, 0)
        assert (job["error"]["code"], job["error"]["waiting"]) == ("unknown_job_type", True)
        assert "own.plain" in job["error"]["detail"]
        app.executor._registry._handlers["own.plain"] = handler
        job = finished(app, job_id)
        assert (job["state"], job["attempt"], job["error"]) == ("succeeded", 1, None)

    def test_arguments_that_the_worker_does_not_know_wait_and_say_so(self, app: InProcess) -> None:
        class Older(BaseModel):
            name: str

        @plugin.job_type("own.report")
        def older(run: plugin.JobRun, args: Older) -> dict[str, Any]:
            return {"older": True}

        registry = app.executor._registry
        newer = registry._handlers["own.report"]
        registry._handlers["own.report"] = handler_of(older, app.gristmill.database, Limits(30, 60))
        body = {"type": "own.report", "args": {"name": "a", "value": 7}, "max_attempts": 1}
        job_id = app.http.post("/api/v1/jobs", json=body).json()["id"]
        for _ in range(3):
            self.attempt(app)
        job = app.http.get(f"/api/v1/jobs/{job_id}").json()
        assert (job["done"], job["attempt"], job["error"]["code"]) == (False, 0, "unknown_arguments")
        assert "value" in job["error"]["detail"]
        registry._handlers["own.report"] = newer
        assert finished(app, job_id)["state"] == "succeeded"

    def test_what_waits_for_a_worker_can_be_cancelled(self, app: InProcess) -> None:
        app.executor._registry._handlers.pop("own.plain")
        job_id = app.http.post("/api/v1/jobs", json={"type": "own.plain"}).json()["id"]
        self.attempt(app)
        assert app.http.post(f"/api/v1/jobs/{job_id}/cancel").json()["state"] == "cancelled"

    @staticmethod
    def attempt(app: InProcess) -> None:
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql("UPDATE gristmill.chunks SET run_at = now() WHERE state = 'waiting'")
            (message,) = mark_sent(connection, "default", 4)
        assert app.executor.run(message.job_id, message.number, message.dispatch) == "retried"
