"""Deletion by age: what is too old goes, nothing else ever does, and no outcome of jobs changes by it."""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.in_process import InProcess, Job

from gristmill.jobs.repository.dispatch import mark_sent
from gristmill.records.retention import tasks
from gristmill.records.retention.tasks import EXPIRE, Retention

EVENTS: dict[str, Any] = {
    "fields": [{"name": "k", "type": "text", "required": True}, {"name": "at", "type": "timestamp"}],
    "key": ["k"],
    "time_field": "at",
    "keep": "30d",
}
DAYS: dict[str, Any] = {
    "fields": [{"name": "day", "type": "date", "required": True}],
    "key": ["day"],
    "time_field": "day",
    "keep": "2d",
}


@pytest.fixture
def app(fresh_app: InProcess) -> InProcess:
    """They look at the metrics, and at every job."""
    return fresh_app


def ago(**age: float) -> str:
    return (datetime.now(UTC) - timedelta(**age)).isoformat()


def look(app: InProcess) -> int:
    """What the dispatcher does now and then."""
    return Retention(app.gristmill.database, 5).run()


def expire(app: InProcess, name: str) -> Job:
    """Look, and return the job that it made, finished."""
    assert look(app) == 1
    app.work()
    (job,) = jobs(app, name)[:1]
    assert job["state"] == "succeeded", job
    return job


def jobs(app: InProcess, name: str) -> list[Job]:
    found: list[Job] = app.http.get("/api/v1/jobs", params={"type": EXPIRE, "dataset": name}).json()["jobs"]
    return found


def keys(app: InProcess, name: str) -> set[str]:
    return {row["k"] for row in app.rows(name)}


def store(app: InProcess, name: str, records: list[Job]) -> None:
    assert app.job(app.post(name, records))["state"] == "succeeded"


class TestExpiring:
    def test_what_is_older_than_kept_goes_and_the_rest_stays(self, app: InProcess) -> None:
        name = app.dataset(EVENTS)
        ages = {"old": ago(days=31), "edge": ago(days=30, minutes=1), "young": ago(days=29), "later": ago(days=-5)}
        store(app, name, [*({"k": k, "at": at} for k, at in ages.items()), {"k": "timeless"}])
        assert keys(app, name) == {"old", "edge", "young", "later", "timeless"}, "accepted, whatever their age"
        job = expire(app, name)
        assert job["result"]["deleted"] == 2
        assert job["priority"] == 1
        assert keys(app, name) == {"young", "later", "timeless"}

    def test_a_look_at_a_table_without_old_records_makes_no_job(self, app: InProcess) -> None:
        name = app.dataset(EVENTS)
        store(app, name, [{"k": "a", "at": ago(days=1)}])
        assert look(app) == 0
        assert jobs(app, name) == []
        shown = app.http.get(f"/api/v1/datasets/{name}").json()["retention"]
        assert shown["last_run"] is not None
        assert (shown["keep"], shown["deleted"]) == ("30d", 0)

    def test_the_body_of_the_dataset_tells_what_was_done(self, app: InProcess) -> None:
        name, other = app.dataset(EVENTS), app.dataset({**EVENTS, "keep": None})
        app.work()
        path = f"/api/v1/datasets/{name}"
        assert app.http.get(path).json()["retention"] == {"keep": "30d", "last_run": None, "deleted": 0}
        for number in range(2):
            store(app, name, [{"k": f"{number} {n}", "at": ago(days=40)} for n in range(3)])
            expire(app, name)
        assert app.http.get(path).json()["retention"]["deleted"] == 6
        assert app.http.get(f"/api/v1/datasets/{other}").json()["retention"] is None

    def test_it_goes_on_in_parts_until_nothing_is_left(self, app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tasks, "ROWS_PER_TRANSACTION", 7)
        name = app.dataset(EVENTS)
        store(app, name, [{"k": f"{n}", "at": ago(days=31 if n % 2 else 1)} for n in range(100)])
        assert expire(app, name)["result"]["deleted"] == 50
        assert len(keys(app, name)) == 50

    def test_a_job_ends_after_its_time_and_the_next_one_goes_on(
        self, app: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tasks, "ROWS_PER_TRANSACTION", 10)
        monkeypatch.setattr(tasks, "SECONDS_PER_JOB", 0.0)
        name = app.dataset(EVENTS)
        store(app, name, [{"k": f"{n}", "at": ago(days=31)} for n in range(15)])
        assert [expire(app, name)["result"]["deleted"] for _ in range(2)] == [10, 5]
        assert look(app) == 0

    def test_a_day_is_kept_until_its_end_is_too_old(self, app: InProcess) -> None:
        name = app.dataset(DAYS)
        today = datetime.now(UTC).date()
        store(app, name, [{"day": str(today - timedelta(days=age))} for age in range(6)])
        expire(app, name)
        found = {date.fromisoformat(row["day"]) for row in app.rows(name)}
        assert found == {today - timedelta(days=age) for age in range(3)}

    def test_the_contract_may_be_changed_and_what_is_pending_does_not_count(self, app: InProcess) -> None:
        name = app.dataset(EVENTS)
        store(app, name, [{"k": "a", "at": ago(days=10)}, {"k": "b", "at": ago(days=2)}])
        change = app.http.patch(f"/api/v1/datasets/{name}", json={"keep": "1w"})
        assert look(app) == 0, "the change is not applied, and may still be cancelled"
        assert app.job(change)["state"] == "succeeded"
        expire(app, name)
        assert keys(app, name) == {"b"}
        assert app.job(app.http.patch(f"/api/v1/datasets/{name}", json={"keep": None}))["state"] == "succeeded"
        store(app, name, [{"k": "ancient", "at": ago(days=10_000)}])
        assert look(app) == 0
        assert keys(app, name) == {"ancient", "b"}

    @settings(max_examples=20)
    @given(
        keep=st.sampled_from(["1h", "36h", "2d", "1w"]),
        ages=st.lists(st.integers(0, 400), min_size=1, max_size=30),
    )
    def test_nothing_younger_than_kept_is_ever_deleted(self, app: InProcess, keep: str, ages: list[int]) -> None:
        name = app.dataset({**EVENTS, "keep": keep})
        now = datetime.now(UTC)
        at = {f"{place}": now - timedelta(hours=age) for place, age in enumerate(ages)}
        store(app, name, [{"k": k, "at": moment.isoformat()} for k, moment in at.items()])
        look(app)
        app.work()
        # The cutoff was taken between these two moments, by a clock on the same machine.
        kept = {"h": 1, "d": 24, "w": 168}[keep[-1]] * int(keep[:-1])
        must_stay = {k for k, moment in at.items() if moment >= datetime.now(UTC) - timedelta(hours=kept)}
        must_go = {k for k, moment in at.items() if moment < now - timedelta(hours=kept)}
        left = keys(app, name)
        assert must_stay <= left
        assert not must_go & left


@pytest.mark.promise(3)
class TestBesideWrites:
    def test_a_record_stays_while_an_earlier_job_could_bring_back_what_it_replaced(self, app: InProcess) -> None:
        """In order, the old one replaces the young one and is deleted; with the young one late it must not win."""
        name = app.dataset(EVENTS)
        app.work()
        app.post(name, [{"k": "a", "at": ago(days=1)}])
        app.post(name, [{"k": "a", "at": ago(days=60)}])
        with app.gristmill.database.transaction() as connection:
            first, second = sorted(mark_sent(connection, "default", 2), key=lambda message: message.job_id)
        app.executor.run(second.job_id, second.number, second.dispatch)
        assert expire(app, name)["result"]["deleted"] == 0
        app.executor.run(first.job_id, first.number, first.dispatch)
        assert app.rows(name)[0]["at"] < ago(days=59)
        assert expire(app, name)["result"]["deleted"] == 1
        assert app.rows(name) == []

    def test_what_a_writer_holds_is_left_for_the_next_time(self, app: InProcess) -> None:
        name = app.dataset(EVENTS)
        store(app, name, [{"k": k, "at": ago(days=60)} for k in "abc"])
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(f"SELECT FROM data.{name} WHERE k = 'b' FOR UPDATE")
            assert expire(app, name)["result"]["deleted"] == 2
        assert keys(app, name) == {"b"}
        expire(app, name)
        assert keys(app, name) == set()

    def test_exclusive_jobs_of_the_dataset_do_not_wait_for_it(self, app: InProcess) -> None:
        name = app.dataset(EVENTS)
        store(app, name, [{"k": "a", "at": ago(days=60)}, {"k": "b", "at": ago(days=1)}])
        assert look(app) == 1
        with app.gristmill.database.transaction() as connection:
            (expiring,) = mark_sent(connection, "default", 5)
        assert app.job(app.http.delete(app.key(name, "b")))["state"] == "succeeded"
        app.executor.run(expiring.job_id, expiring.number, expiring.dispatch)
        assert app.rows(name) == []

    def test_a_new_dataset_of_the_name_is_left_alone(self, app: InProcess) -> None:
        name = app.dataset(EVENTS)
        store(app, name, [{"k": "a", "at": ago(days=60)}])
        assert look(app) == 1
        with app.gristmill.database.transaction() as connection:
            (expiring,) = mark_sent(connection, "default", 5)
        dropped = app.http.delete(f"/api/v1/datasets/{name}?confirm={name}")
        created = app.http.post("/api/v1/datasets", json={**EVENTS, "name": name, "keep": None})
        assert [app.job(answer)["state"] for answer in (dropped, created)] == ["succeeded"] * 2
        store(app, name, [{"k": "new", "at": ago(days=60)}])
        app.executor.run(expiring.job_id, expiring.number, expiring.dispatch)
        assert jobs(app, name)[0]["result"] == {"deleted": 0}
        assert keys(app, name) == {"new"}
        with app.gristmill.database.autocommit() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM gristmill.retention").scalar() == 0

    def test_one_job_at_a_time_is_enough(self, app: InProcess) -> None:
        name = app.dataset(EVENTS)
        store(app, name, [{"k": "a", "at": ago(days=60)}])
        assert [look(app), look(app)] == [1, 0]
        assert len(jobs(app, name)) == 1

    def test_what_was_deleted_is_counted(self, app: InProcess) -> None:
        name = app.dataset(EVENTS)
        store(app, name, [{"k": f"{uuid.uuid4()}", "at": ago(days=60)} for _ in range(3)])
        expire(app, name)
        app.gristmill.counters.flush()
        text = app.http.get("/metrics").text
        assert f'gristmill_records_expired_total{{dataset="{name}"}} 3.0' in text
