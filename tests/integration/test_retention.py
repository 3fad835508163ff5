"""Deletion by age: what is too old goes, nothing else ever does, and no outcome of jobs changes by it."""

import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.in_process import InProcess, Job

from gristmill.jobs.repository.dispatch import mark_sent
from gristmill.records import retention
from gristmill.records.retention import EXPIRE, Retention

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


def ago(**age: float) -> str:
    return (datetime.now(UTC) - timedelta(**age)).isoformat()


def look(system: InProcess) -> int:
    """What the dispatcher does now and then."""
    return Retention(system.gristmill.database, 5).run()


def expire(system: InProcess, name: str) -> Job:
    """Look, and return the job that it made, finished."""
    assert look(system) == 1
    system.work()
    (job,) = jobs(system, name)[:1]
    assert job["state"] == "succeeded", job
    return job


def jobs(system: InProcess, name: str) -> list[Job]:
    found: list[Job] = system.http.get("/api/v1/jobs", params={"type": EXPIRE, "dataset": name}).json()["jobs"]
    return found


def keys(system: InProcess, name: str) -> set[str]:
    return {row["k"] for row in system.rows(name)}


def store(system: InProcess, name: str, records: list[Job]) -> None:
    assert system.job(system.post(name, records))["state"] == "succeeded"


class TestExpiring:
    def test_what_is_older_than_kept_goes_and_the_rest_stays(self, system: InProcess) -> None:
        name = system.dataset(EVENTS)
        ages = {"old": ago(days=31), "edge": ago(days=30, minutes=1), "young": ago(days=29), "later": ago(days=-5)}
        store(system, name, [*({"k": k, "at": at} for k, at in ages.items()), {"k": "timeless"}])
        assert keys(system, name) == {"old", "edge", "young", "later", "timeless"}, "accepted, whatever their age"
        job = expire(system, name)
        assert job["result"]["deleted"] == 2
        assert job["priority"] == 1
        assert keys(system, name) == {"young", "later", "timeless"}

    def test_a_look_at_a_table_without_old_records_makes_no_job(self, system: InProcess) -> None:
        name = system.dataset(EVENTS)
        store(system, name, [{"k": "a", "at": ago(days=1)}])
        assert look(system) == 0
        assert jobs(system, name) == []
        shown = system.http.get(f"/api/v1/datasets/{name}").json()["retention"]
        assert shown["last_run"] is not None
        assert (shown["keep"], shown["deleted"]) == ("30d", 0)

    def test_the_body_of_the_dataset_tells_what_was_done(self, system: InProcess) -> None:
        name, other = system.dataset(EVENTS), system.dataset({**EVENTS, "keep": None})
        system.work()
        path = f"/api/v1/datasets/{name}"
        assert system.http.get(path).json()["retention"] == {"keep": "30d", "last_run": None, "deleted": 0}
        for number in range(2):
            store(system, name, [{"k": f"{number} {n}", "at": ago(days=40)} for n in range(3)])
            expire(system, name)
        assert system.http.get(path).json()["retention"]["deleted"] == 6
        assert system.http.get(f"/api/v1/datasets/{other}").json()["retention"] is None

    def test_it_goes_on_in_parts_until_nothing_is_left(
        self, system: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retention, "ROWS_PER_TRANSACTION", 7)
        name = system.dataset(EVENTS)
        store(system, name, [{"k": f"{n}", "at": ago(days=31 if n % 2 else 1)} for n in range(100)])
        assert expire(system, name)["result"]["deleted"] == 50
        assert len(keys(system, name)) == 50

    def test_a_job_ends_after_its_time_and_the_next_one_goes_on(
        self, system: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(retention, "ROWS_PER_TRANSACTION", 10)
        monkeypatch.setattr(retention, "SECONDS_PER_JOB", 0.0)
        name = system.dataset(EVENTS)
        store(system, name, [{"k": f"{n}", "at": ago(days=31)} for n in range(15)])
        assert [expire(system, name)["result"]["deleted"] for _ in range(2)] == [10, 5]
        assert look(system) == 0

    def test_a_day_is_kept_until_its_end_is_too_old(self, system: InProcess) -> None:
        name = system.dataset(DAYS)
        today = datetime.now(UTC).date()
        store(system, name, [{"day": str(today - timedelta(days=age))} for age in range(6)])
        expire(system, name)
        found = {date.fromisoformat(row["day"]) for row in system.rows(name)}
        assert found == {today - timedelta(days=age) for age in range(3)}

    def test_the_contract_may_be_changed_and_what_is_pending_does_not_count(self, system: InProcess) -> None:
        name = system.dataset(EVENTS)
        store(system, name, [{"k": "a", "at": ago(days=10)}, {"k": "b", "at": ago(days=2)}])
        change = system.http.patch(f"/api/v1/datasets/{name}", json={"keep": "1w"})
        assert look(system) == 0, "the change is not applied, and may still be cancelled"
        assert system.job(change)["state"] == "succeeded"
        expire(system, name)
        assert keys(system, name) == {"b"}
        assert system.job(system.http.patch(f"/api/v1/datasets/{name}", json={"keep": None}))["state"] == "succeeded"
        store(system, name, [{"k": "ancient", "at": ago(days=10_000)}])
        assert look(system) == 0
        assert keys(system, name) == {"ancient", "b"}

    @settings(max_examples=20)
    @given(
        keep=st.sampled_from(["1h", "36h", "2d", "1w"]),
        ages=st.lists(st.integers(0, 400), min_size=1, max_size=30),
    )
    def test_nothing_younger_than_kept_is_ever_deleted(self, system: InProcess, keep: str, ages: list[int]) -> None:
        name = system.dataset({**EVENTS, "keep": keep})
        now = datetime.now(UTC)
        at = {f"{place}": now - timedelta(hours=age) for place, age in enumerate(ages)}
        store(system, name, [{"k": k, "at": moment.isoformat()} for k, moment in at.items()])
        look(system)
        system.work()
        # The cutoff was taken between these two moments, by a clock on the same machine.
        kept = {"h": 1, "d": 24, "w": 168}[keep[-1]] * int(keep[:-1])
        must_stay = {k for k, moment in at.items() if moment >= datetime.now(UTC) - timedelta(hours=kept)}
        must_go = {k for k, moment in at.items() if moment < now - timedelta(hours=kept)}
        left = keys(system, name)
        assert must_stay <= left
        assert not must_go & left


@pytest.mark.promise(3)
class TestBesideWrites:
    def test_a_record_stays_while_an_earlier_job_could_bring_back_what_it_replaced(self, system: InProcess) -> None:
        """In order, the old one replaces the young one and is deleted; with the young one late it must not win."""
        name = system.dataset(EVENTS)
        system.work()
        system.post(name, [{"k": "a", "at": ago(days=1)}])
        system.post(name, [{"k": "a", "at": ago(days=60)}])
        with system.gristmill.database.transaction() as connection:
            first, second = sorted(mark_sent(connection, "default", 2), key=lambda message: message.job_id)
        system.executor.run(second.job_id, second.number, second.dispatch)
        assert expire(system, name)["result"]["deleted"] == 0
        system.executor.run(first.job_id, first.number, first.dispatch)
        assert system.rows(name)[0]["at"] < ago(days=59)
        assert expire(system, name)["result"]["deleted"] == 1
        assert system.rows(name) == []

    def test_what_a_writer_holds_is_left_for_the_next_time(self, system: InProcess) -> None:
        name = system.dataset(EVENTS)
        store(system, name, [{"k": k, "at": ago(days=60)} for k in "abc"])
        with system.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(f"SELECT FROM data.{name} WHERE k = 'b' FOR UPDATE")
            assert expire(system, name)["result"]["deleted"] == 2
        assert keys(system, name) == {"b"}
        expire(system, name)
        assert keys(system, name) == set()

    def test_exclusive_jobs_of_the_dataset_do_not_wait_for_it(self, system: InProcess) -> None:
        name = system.dataset(EVENTS)
        store(system, name, [{"k": "a", "at": ago(days=60)}, {"k": "b", "at": ago(days=1)}])
        assert look(system) == 1
        with system.gristmill.database.transaction() as connection:
            (expiring,) = mark_sent(connection, "default", 5)
        assert system.job(system.http.delete(system.key(name, "b")))["state"] == "succeeded"
        system.executor.run(expiring.job_id, expiring.number, expiring.dispatch)
        assert system.rows(name) == []

    def test_a_new_dataset_of_the_name_is_left_alone(self, system: InProcess) -> None:
        name = system.dataset(EVENTS)
        store(system, name, [{"k": "a", "at": ago(days=60)}])
        assert look(system) == 1
        with system.gristmill.database.transaction() as connection:
            (expiring,) = mark_sent(connection, "default", 5)
        dropped = system.http.delete(f"/api/v1/datasets/{name}")
        created = system.http.post("/api/v1/datasets", json={**EVENTS, "name": name, "keep": None})
        assert [system.job(answer)["state"] for answer in (dropped, created)] == ["succeeded"] * 2
        store(system, name, [{"k": "new", "at": ago(days=60)}])
        system.executor.run(expiring.job_id, expiring.number, expiring.dispatch)
        assert jobs(system, name)[0]["result"] == {"deleted": 0}
        assert keys(system, name) == {"new"}
        with system.gristmill.database.autocommit() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM gristmill.retention").scalar() == 0

    def test_one_job_at_a_time_is_enough(self, system: InProcess) -> None:
        name = system.dataset(EVENTS)
        store(system, name, [{"k": "a", "at": ago(days=60)}])
        assert [look(system), look(system)] == [1, 0]
        assert len(jobs(system, name)) == 1

    def test_what_was_deleted_is_counted(self, system: InProcess) -> None:
        name = system.dataset(EVENTS)
        store(system, name, [{"k": f"{uuid.uuid4()}", "at": ago(days=60)} for _ in range(3)])
        expire(system, name)
        system.gristmill.figures.flush()
        text = system.http.get("/metrics").text
        assert f'gristmill_records_expired_total{{dataset="{name}"}} 3.0' in text
