"""Sources in one process: the REST interface, runners in threads, and workers that run when they are told to."""

import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from tests.support.in_process import InProcess
from tests.support.sources import (
    CONTRACT,
    NUMBERS,
    Scripted,
    SourcesInProcess,
    numbers,
    scripted,
    steady,
    values,
)

from gristmill.bootstrap.sources import build_batch_submitter
from gristmill.sources.batching import Batch
from gristmill.sources.encoding import NDJSON
from gristmill.sources.errors import LeaseLost, SourceFailed
from gristmill.sources.figures import Figures
from gristmill.sources.port import MalformedItem, Read
from gristmill.sources.repository import leases
from gristmill.sources.repository.leases import Leased

SETTINGS = {"sources_poll": 0.05, "sources_heartbeat": 0.2, "sources_lease": 5, "sources_retry_base": 0.05}


@pytest.fixture
def app(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    with scripted():
        found = InProcess(database_url, **SETTINGS)
        with found.http:
            yield found
        found.gristmill.database.close()


@pytest.fixture
def sources(app: InProcess) -> Iterator[SourcesInProcess]:
    """The sources, without a runner yet."""
    found = SourcesInProcess(app)
    yield found
    found.stop_runners()


@pytest.fixture
def running(sources: SourcesInProcess) -> SourcesInProcess:
    """The sources, and a runner."""
    sources.start_runner()
    return sources


def ready(app: InProcess, contract: dict[str, Any]) -> str:
    name = app.dataset(contract)
    app.work()
    return name


class TestSimulator:
    def test_its_records_arrive_as_jobs_of_its_name_and_it_ends(
        self, app: InProcess, running: SourcesInProcess
    ) -> None:
        dataset = ready(app, CONTRACT)
        settings = {"interval": 0.005, "batch_size": 10, "seed": 7, "limit": 95, "batch_seconds": 5}
        name = running.create(dataset, "simulator", settings, labels={"run": "a"}, priority=7)
        found = running.until(name, lambda one: one["state"] == "finished", "it is finished")
        assert (found["records"], found["batches"], found["rejected"]) == (95, 10, 0)
        assert (found["runner"], found["lag"], found["position"]) == (None, None, {"count": 95})
        app.work()
        rows = app.rows(dataset)
        assert len({row["id"] for row in rows}) == 95
        jobs = running.jobs(name)
        assert sorted(job["record_counts"]["total"] for job in jobs) == [5] + [10] * 9
        assert {job["submitted_by"] for job in jobs} == {f"source:{name}"}
        assert {(job["labels"]["source"], job["labels"]["run"], job["priority"]) for job in jobs} == {(name, "a", 7)}
        assert found["last_job"] in {job["id"] for job in jobs}

    def test_a_dataset_that_is_still_being_created_takes_them(self, app: InProcess, running: SourcesInProcess) -> None:
        dataset = app.dataset(CONTRACT)
        name = running.create(dataset, "simulator", {"interval": 0.001, "limit": 20})
        running.until(name, lambda one: one["state"] == "finished", "it is finished")
        app.work()
        assert len(app.rows(dataset)) == 20

    def test_seconds_end_a_batch_that_has_not_its_size(self, app: InProcess, running: SourcesInProcess) -> None:
        dataset = ready(app, CONTRACT)
        name = running.create(dataset, "simulator", {"interval": 0.1, "batch_size": 1000, "batch_seconds": 0.5})
        running.until(name, lambda one: one["batches"] >= 2, "two batches")
        assert all(job["record_counts"]["total"] < 100 for job in running.jobs(name)), "none has its size"


class TestRecordsThatDoNotFit:
    def test_one_bad_item_never_stops_a_source(self, app: InProcess, running: SourcesInProcess) -> None:
        """What does not fit the contract, what the kind says is no record, what is no JSON: rejects, and it goes on."""
        dataset = ready(app, NUMBERS)
        name = running.create(dataset, settings={"batch_size": 7, "batch_seconds": 60})
        bad = MalformedItem("offset 17", b"\xffnot a record", "no UTF-8")
        Scripted.scripts[name] += [{"n": 0}, {"n": -5}, bad, {"m": 1}, {"n": object()}, {"n": float("nan")}, {"n": 6}]
        running.until(name, lambda one: one["batches"] == 1, "the batch")
        found = running.until(name, lambda one: one["records"] == 2, "two are accepted")
        assert (found["rejected"], found["failures"], found["last_error"]) == (5, 0, None)
        app.work()
        assert values(app.rows(dataset)) == [0, 6]
        (job,) = running.jobs(name)
        assert job["record_counts"] == {"total": 7, "succeeded": 2, "rejected": 5, "superseded": 0, "dropped": 0}
        rejects = app.http.get(job["links"]["rejects"]).json()["rejects"]
        codes = [one["errors"][0]["code"] for one in rejects]
        assert codes.count("malformed_item") == 2
        assert any("offset 17" in one["errors"][0]["reason"] for one in rejects)
        assert len({one["record"] for one in rejects}) == 5

    def test_records_beyond_a_limit_or_without_their_parent_never_stop_a_source(
        self, app: InProcess, running: SourcesInProcess
    ) -> None:
        """The job keeps back what does not fit its parent, each record judged after those before it."""
        name = {"name": "name", "type": "text", "required": True, "max_length": 20}
        parent = ready(app, {"fields": [name, {"name": "room", "type": "integer"}], "key": ["name"]})
        assert app.job(app.post(parent, [{"name": "p", "room": 10}]))["state"] == "succeeded"
        limits = [{"sum": "n", "at_most": "room"}]
        field = {"name": "above", "type": "text", "max_length": 20}
        parents = [{"field": "above", "dataset": parent, "limits": limits}]
        dataset = ready(app, {"fields": [*NUMBERS["fields"], field], "parents": parents})
        source = running.create(dataset, settings={"batch_size": 5})
        pairs = [(4, "p"), (7, "p"), (6, "p"), (1, "q"), (1, "p"), (0, "p"), (5, None)]
        Scripted.scripts[source] += [{"n": number, "above": above} for number, above in pairs]
        running.until(source, lambda one: one["records"] == 7, "all are submitted")
        app.work()
        assert values(app.rows(dataset)) == [0, 4, 5, 6]
        counts = [job["record_counts"] for job in running.jobs(source)]
        assert sum(one["rejected"] for one in counts) == 3
        assert {job["state"] for job in running.jobs(source)} == {"succeeded"}

    def test_a_batch_of_bad_items_alone_moves_the_position(self, app: InProcess, running: SourcesInProcess) -> None:
        dataset = ready(app, NUMBERS)
        name = running.create(dataset)
        Scripted.scripts[name] += [MalformedItem("1", b"a", "bad"), {"x": 1}]
        found = running.until(name, lambda one: one["rejected"] == 2, "both are rejected")
        assert (found["records"], found["position"]) == (0, {"place": 2})
        app.work()
        assert [job["state"] for job in running.jobs(name)] == ["succeeded"] * len(running.jobs(name))

    def test_more_rejects_than_a_request_may_have(self, database_url: str) -> None:
        with scripted():
            app = InProcess(database_url, jobs_max_rejects=0, **SETTINGS)
            sources = SourcesInProcess(app)
            with app.http:
                sources.start_runner()
                name = sources.create(ready(app, NUMBERS))
                Scripted.scripts[name] += [{"x": 1}, {"n": 1}]
                sources.until(name, lambda one: (one["records"], one["rejected"]) == (1, 1), "one of each")
                sources.stop_runners()
            app.gristmill.database.close()

    def test_tables_come_in_as_well_and_one_whose_columns_do_not_fit_is_rejected(
        self, app: InProcess, running: SourcesInProcess
    ) -> None:
        dataset = ready(app, NUMBERS)
        name = running.create(dataset, settings={"batch_size": 5000})
        Scripted.scripts[name] += [
            pa.table({"n": list(range(3000))}),
            pa.table({"n": [3000, None, -1, 3001]}),
            pa.table({"wrong": ["a", "b"]}),
            {"n": 3002},
        ]
        found = running.until(name, lambda one: one["records"] + one["rejected"] == 3007, "all of it")
        assert (found["records"], found["rejected"]) == (3003, 4)
        app.work()
        assert values(app.rows(dataset))[:3] == [0, 1, 2]


class TestPosition:
    def test_batches_that_are_ready_at_once_share_a_commit_in_their_order(
        self, app: InProcess, sources: SourcesInProcess
    ) -> None:
        dataset = ready(app, NUMBERS)
        # However slow the machine is, a batch is full before its time is over.
        name = sources.create(dataset, settings={"batch_seconds": 60})
        Scripted.scripts[name] += numbers(100)
        sources.start_runner()
        sources.until(name, lambda one: one["records"] == 100, "all of them")
        jobs = sources.jobs(name)
        assert len(jobs) == 10
        with app.gristmill.database.autocommit() as connection:
            made = connection.exec_driver_sql("SELECT xmin::text FROM gristmill.jobs WHERE labels ? 'source'")
            assert len({row[0] for row in made}) < 10, "some were made by one transaction"
        app.work()
        with app.gristmill.database.autocommit() as connection:
            rows = connection.exec_driver_sql(f'SELECT n FROM data."{dataset}" ORDER BY _seq, _ord')
            assert [row[0] for row in rows] == list(range(100)), "their numbers rise with the batches"
        app.work()
        assert values(app.rows(dataset)) == list(range(100))

    def test_another_runner_goes_on_where_the_first_one_stopped(
        self, app: InProcess, sources: SourcesInProcess
    ) -> None:
        dataset = ready(app, NUMBERS)
        name = sources.create(dataset, settings={"batch_size": 10, "batch_seconds": 60})
        Scripted.scripts[name] += numbers(25)
        sources.start_runner("one")
        sources.until(name, lambda one: one["batches"] == 2, "two full batches")
        sources.stop_runners()
        found = sources.get(name)
        assert (found["records"], found["runner"]) == (25, None), "what was in hand is submitted when it is stopped"
        assert found["waits_for"] == "a source runner: none reads it now"
        Scripted.scripts[name] += numbers(15, 25)
        sources.start_runner("two")
        sources.until(name, lambda one: one["records"] >= 35, "it goes on")
        assert Scripted.opened[-1] == (name, {"place": 25})
        sources.patch(name, settings={"batch_seconds": 0.05})
        sources.until(name, lambda one: one["records"] == 40, "all of them")
        app.work()
        assert values(app.rows(dataset)) == list(range(40))
        assert Scripted.closed.count(name) >= 2, "readers are closed"

    def test_two_runners_submit_each_record_once(self, app: InProcess, sources: SourcesInProcess) -> None:
        dataset = ready(app, NUMBERS)
        names = [sources.create(dataset, settings={"ends": True}) for _ in range(6)]
        for place, name in enumerate(names):
            Scripted.scripts[name] += numbers(50, place * 50)
        sources.start_runner("one")
        sources.start_runner("two")
        for name in names:
            sources.until(name, lambda one: one["state"] == "finished", "it is finished")
        app.work()
        assert values(app.rows(dataset)) == list(range(300))


def batch(*found: int) -> Batch:
    body = b"\n".join(b'{"n": %d}' % number for number in found)
    return Batch(body, NDJSON, len(found), (), {"place": found[-1] + 1}, 0.0)


class TestStaleRunners:
    """What a runner does that was frozen beyond its lease, or whose commit was answered by nobody."""

    @pytest.fixture
    def leased(self, app: InProcess, sources: SourcesInProcess) -> Leased:
        self.dataset = ready(app, NUMBERS)
        sources.create(self.dataset)
        return self.take(app, "one")

    def take(self, app: InProcess, owner: str) -> Leased:
        with app.gristmill.database.autocommit() as connection:
            connection.exec_driver_sql("UPDATE gristmill.sources SET lease_until = now() WHERE owner IS NOT NULL")
            (found,) = leases.lease(connection, owner, ["scripted"], 60, 10)
        return found

    def test_a_batch_under_an_old_epoch_is_rolled_back(
        self, app: InProcess, sources: SourcesInProcess, leased: Leased
    ) -> None:
        submitter = build_batch_submitter(app.gristmill)
        newer = self.take(app, "two")
        assert newer.epoch == leased.epoch + 1
        with pytest.raises(LeaseLost):
            submitter.submit(leased, [batch(0, 1)], Figures())
        assert sources.jobs(leased.name) == []
        submitter.submit(newer, [batch(0, 1)], Figures())
        with pytest.raises(LeaseLost):
            submitter.submit(leased, [batch(0, 1)], Figures())
        app.work()
        assert values(app.rows(self.dataset)) == [0, 1]

    def test_a_large_batch_that_is_staged_by_copy_is_rolled_back_too(self, app: InProcess, leased: Leased) -> None:
        submitter = build_batch_submitter(app.gristmill)
        self.take(app, "two")
        with pytest.raises(LeaseLost):
            submitter.submit(leased, [batch(*range(10_000))], Figures())
        with app.gristmill.database.autocommit() as connection:
            assert not connection.exec_driver_sql("SELECT count(*) FROM gristmill.payloads").scalar()

    def test_a_commit_whose_answer_was_lost_is_not_repeated(self, app: InProcess, leased: Leased) -> None:
        """The runner still holds the batch, and the epoch is its own: the count of batches says that it is in."""
        submitter = build_batch_submitter(app.gristmill)
        after = submitter.submit(leased, [batch(0), batch(1)], Figures())
        with pytest.raises(LeaseLost):
            submitter.submit(leased, [batch(0), batch(1)], Figures())
        with app.gristmill.database.autocommit() as connection:
            found = leases.load(connection, leased.id, leased.epoch)
        assert found == after
        assert (after.batches, after.position) == (2, {"place": 2})
        app.work()
        assert values(app.rows(self.dataset)) == [0, 1]

    def test_a_lease_that_was_given_back_is_neither_renewed_nor_used(
        self, app: InProcess, sources: SourcesInProcess, leased: Leased
    ) -> None:
        """Its own run ends while the heartbeat is on its way: the epoch is still the same."""
        for ended in (False, True):
            with app.gristmill.database.autocommit() as connection:
                if ended:
                    leases.end(connection, leased.id, leased.epoch, "finished")
                else:
                    leases.release(connection, leased.id, leased.epoch)
                leases.beat(connection, {(leased.id, leased.epoch): Figures()}, 5.0)
                sql = "SELECT owner, lease_until FROM gristmill.sources WHERE id = %(id)s"
                assert connection.exec_driver_sql(sql, {"id": str(leased.id)}).one() == (None, None)
            with pytest.raises(LeaseLost):
                build_batch_submitter(app.gristmill).submit(leased, [batch(0)], Figures())
            assert sources.jobs(leased.name) == []

    def test_a_dataset_that_is_not_there_gets_nothing(self, app: InProcess, leased: Leased) -> None:
        submitter = build_batch_submitter(app.gristmill)
        submitter.submit(leased, [batch(0)], Figures())
        with pytest.raises(SourceFailed, match="is dropped"):
            submitter.submit(replace(leased, dataset_id=uuid.uuid4(), batches=1), [batch(1)], Figures())


class TestWaiting:
    def test_for_room_in_the_queue(self, database_url: str) -> None:
        """It keeps what it has, says what it waits for, falls behind, and goes on: promise 7."""
        with scripted():
            app = InProcess(database_url, jobs_max_queued=3, **SETTINGS)
            sources = SourcesInProcess(app)
            with app.http:
                sources.start_runner()
                dataset = ready(app, CONTRACT)
                settings = {"interval": 0.01, "batch_size": 20, "limit": 120}
                name = sources.create(dataset, "simulator", settings)
                first = sources.until(name, lambda one: one["runner"] and one["waits_for"], "it waits")
                assert first["waits_for"].startswith("too_many: ")
                assert first["state"] == "running"
                assert first["failures"] == 0
                worse = sources.until(name, lambda one: one["lag"]["records"] > 50, "it falls behind")
                assert worse["lag"]["seconds"] > 0
                later = sources.until(name, lambda one: one["lag"]["seconds"] > worse["lag"]["seconds"] + 0.3, "more")
                assert later["batches"] <= 3
                until = threading.Event()

                def work() -> None:
                    while not until.wait(0.05):
                        app.work()

                worker = threading.Thread(target=work)
                worker.start()
                found = sources.until(name, lambda one: one["state"] == "finished", "it goes on", 60)
                until.set()
                worker.join()
                assert (found["records"], found["waits_for"]) == (120, None)
                app.work()
                assert len({row["id"] for row in app.rows(dataset)}) == 120
                sources.stop_runners()
            app.gristmill.database.close()

    def test_a_source_that_waits_can_be_stopped_and_paused(self, database_url: str) -> None:
        with scripted():
            app = InProcess(database_url, jobs_max_queued=1, **SETTINGS)
            sources = SourcesInProcess(app)
            with app.http:
                sources.start_runner()
                dataset = ready(app, NUMBERS)
                name = sources.create(dataset)
                Scripted.scripts[name] += numbers(40)
                sources.until(name, lambda one: one["runner"] and one["waits_for"], "it waits")
                assert sources.patch(name, state="paused")["waits_for"] is None
                sources.patch(name, state="running")
                sources.until(name, lambda one: one["waits_for"] and one["runner"], "it waits again")
                sources.stop_runners()
                assert sources.get(name)["runner"] is None
            app.gristmill.database.close()


class TestErrorsOfAKind:
    def test_it_is_opened_again_where_it_was_and_the_error_is_shown(
        self, app: InProcess, running: SourcesInProcess
    ) -> None:
        dataset = ready(app, NUMBERS)
        name, other = running.create(dataset), running.create(dataset)
        Scripted.scripts[name] += [*numbers(10), OSError("the camera is off"), ValueError("still"), *numbers(10, 10)]
        Scripted.scripts[other] += numbers(20, 100)
        found = running.until(name, lambda one: one["records"] == 20, "it recovers")
        assert (found["failures"], found["waits_for"]) == (0, None)
        assert "still" in found["last_error"]["detail"]
        assert found["last_error_at"]
        running.until(other, lambda one: one["records"] == 20, "others are not held up")
        app.work()
        assert values(app.rows(dataset)) == [*range(20), *range(100, 120)]

    def test_while_it_fails_it_says_when_it_is_tried_again(self, database_url: str) -> None:
        with scripted():
            app = InProcess(database_url, **{**SETTINGS, "sources_retry_base": 30})
            sources = SourcesInProcess(app)
            with app.http:
                sources.start_runner()
                name = sources.create(ready(app, NUMBERS))
                Scripted.scripts[name] += [RuntimeError("no such host"), *numbers(3)]
                found = sources.until(name, lambda one: one["failures"] == 1, "it has failed once")
                assert "the next attempt after an error, in" in found["waits_for"]
                assert "no such host" in found["waits_for"]
                assert found["state"] == "running"
                # A change lets it go on at once.
                sources.patch(name, state="paused")
                sources.patch(name, state="running")
                sources.until(name, lambda one: one["records"] == 3, "it goes on")
                sources.stop_runners()
            app.gristmill.database.close()

    def test_one_that_cannot_go_on_fails_and_can_be_resumed(self, app: InProcess, running: SourcesInProcess) -> None:
        name = running.create(ready(app, NUMBERS))
        Scripted.scripts[name] += [*numbers(5), SourceFailed("the file is no CSV"), *numbers(5, 5)]
        found = running.until(name, lambda one: one["state"] == "failed", "it fails")
        assert (found["last_error"]["code"], found["runner"]) == ("source_failed", None)
        assert app.http.patch(f"/api/v1/sources/{name}", json={"state": "paused"}).status_code == 409
        running.patch(name, state="running")
        running.until(name, lambda one: one["records"] == 10, "it goes on")


class TestPauseAndChange:
    def test_a_paused_source_holds_no_lease_and_submits_nothing_more(
        self, app: InProcess, running: SourcesInProcess
    ) -> None:
        dataset = ready(app, NUMBERS)
        name = running.create(dataset)
        Scripted.scripts[name] += numbers(1000)
        running.until(name, lambda one: one["batches"] >= 1, "it runs")
        paused = running.patch(name, state="paused")
        assert (paused["state"], paused["runner"]) == ("paused", None)
        Scripted.scripts[name] += numbers(500, 1000)
        assert steady(lambda: running.get(name)["position"]) == paused["position"]
        assert running.patch(name, state="paused") == running.get(name), "again: nothing changes"
        running.patch(name, state="running")
        running.until(name, lambda one: one["records"] == 1500, "it goes on")
        app.work()
        assert sorted({row["n"] for row in app.rows(dataset)})[:3] == [0, 1, 2]
        with app.gristmill.database.autocommit() as connection:
            table = connection.exec_driver_sql(f'SELECT count(*), count(DISTINCT n) FROM data."{dataset}"').one()
        assert tuple(table) == (1500, 1500), "each once"

    def test_settings_count_from_the_next_batch_on(self, app: InProcess, running: SourcesInProcess) -> None:
        name = running.create(ready(app, NUMBERS), settings={"batch_size": 3, "batch_seconds": 0.5})
        Scripted.scripts[name] += numbers(3)
        running.until(name, lambda one: one["records"] == 3, "the first batch")
        changed = running.patch(name, settings={"batch_size": 5}, labels={"a": "b"}, priority=9)
        assert changed["settings"] == {"batch_size": 5, "batch_seconds": 0.5, "script": name, "ends": False}
        Scripted.scripts[name] += numbers(5, 3)
        running.until(name, lambda one: one["records"] == 8, "the second one")
        jobs = running.jobs(name)
        assert [job["record_counts"]["total"] for job in jobs] == [3, 5]
        assert (jobs[1]["labels"], jobs[1]["priority"]) == ({"a": "b", "source": name}, 9)
        assert running.patch(name, settings={"batch_size": None})["settings"]["batch_size"] == 1000

    def test_a_deleted_source_submits_nothing_more(self, app: InProcess, running: SourcesInProcess) -> None:
        name = running.create(ready(app, NUMBERS))
        Scripted.scripts[name] += numbers(500)
        running.until(name, lambda one: one["batches"] >= 1, "it runs")
        answer = app.http.delete(f"/api/v1/sources/{name}")
        assert (answer.status_code, answer.content) == (204, b"")
        jobs = steady(lambda: len(running.jobs(name)))
        assert jobs >= 1
        assert app.http.delete(f"/api/v1/sources/{name}").status_code == 404


class TestItsDataset:
    def test_dropped_it_fails_with_that_reason_and_a_new_one_of_the_name_gets_nothing(
        self, app: InProcess, running: SourcesInProcess
    ) -> None:
        dataset = ready(app, NUMBERS)
        name, paused = running.create(dataset), running.create(dataset, state="paused")
        Scripted.scripts[name] += numbers(10)
        running.until(name, lambda one: one["records"] == 10, "it runs")
        app.job(app.http.delete(f"/api/v1/datasets/{dataset}?confirm={dataset}"))
        app.job(app.http.post("/api/v1/datasets", json={**NUMBERS, "name": dataset}))
        for one in (name, paused):
            found = running.until(one, lambda it: it["state"] == "failed", "it fails")
            assert f"The dataset {dataset} is dropped" in found["last_error"]["detail"]
        Scripted.scripts[name] += numbers(10, 10)
        running.patch(name, state="running")
        found = running.until(name, lambda it: it["state"] == "failed", "it fails again")
        app.work()
        assert app.rows(dataset) == []

    def test_renamed_it_goes_on(self, app: InProcess, running: SourcesInProcess) -> None:
        dataset = ready(app, NUMBERS)
        name = running.create(dataset)
        Scripted.scripts[name] += numbers(10)
        running.until(name, lambda one: one["records"] == 10, "it runs")
        new = f"{dataset}_new"
        app.job(app.http.post(f"/api/v1/datasets/{dataset}/rename", json={"name": new}))
        Scripted.scripts[name] += numbers(10, 10)
        found = running.until(name, lambda one: one["records"] == 20, "it goes on")
        assert (found["dataset"], found["failures"]) == (new, 0)
        app.work()
        assert values(app.rows(new)) == list(range(20))

    def test_changed_its_records_are_validated_by_the_new_contract(
        self, app: InProcess, running: SourcesInProcess
    ) -> None:
        dataset = ready(app, NUMBERS)
        name = running.create(dataset)
        Scripted.scripts[name] += [{"n": 1}, {"n": 2, "note": "early"}]
        running.until(name, lambda one: (one["records"], one["rejected"]) == (1, 1), "one does not fit yet")
        change = {"add_fields": [{"name": "note", "type": "text"}]}
        app.job(app.http.patch(f"/api/v1/datasets/{dataset}", json=change))
        Scripted.scripts[name] += [{"n": 3, "note": "late"}]
        running.until(name, lambda one: one["records"] == 2, "it fits now")

    def test_that_could_not_be_created(self, app: InProcess, running: SourcesInProcess) -> None:
        dataset = app.dataset(NUMBERS)
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(f'CREATE TABLE data."{dataset}" (id int)')
        name = running.create(dataset, state="paused")
        app.work()
        Scripted.scripts[name] += numbers(3)
        running.patch(name, state="running")
        found = running.until(name, lambda one: one["state"] == "failed", "it fails")
        assert found["last_error"]["code"] == "dataset_failed"


class TestPaceOfAKind:
    def test_one_that_always_has_something_soon_is_submitted_in_time(
        self, app: InProcess, sources: SourcesInProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It never says that nothing is ready: batches are by size all the same, and not by sixteen of them."""

        def open_(self: Scripted, position: Any, pace: Any) -> Any:
            place = 0 if position is None else position["place"]
            while True:
                place += 1
                time.sleep(0.02)
                yield Read({"place": place}, [{"n": place}])

        monkeypatch.setattr(Scripted, "open", open_)
        name = sources.create(ready(app, NUMBERS), settings={"batch_size": 5, "batch_seconds": 60})
        sources.start_runner()
        sources.until(name, lambda one: one["batches"] >= 5, "more")
        with app.gristmill.database.autocommit() as connection:
            made = connection.exec_driver_sql(
                "SELECT count(*) FROM gristmill.jobs WHERE labels ? 'source'"
                " GROUP BY xmin::text ORDER BY min(created_at)"
            )
            assert made.scalars().all()[0] < 8, "the first one did not wait for others"
        assert {job["record_counts"]["total"] for job in sources.jobs(name)} == {5}


def test_a_runner_never_takes_more_sources_than_it_has_room_for(app: InProcess) -> None:
    """Whatever the plan: a subquery with a limit that is run once for each row takes more."""
    emitted = {"timestamp": "timestamp", "id": "uuid", "value": "float"}
    dataset = app.dataset({"fields": [{"name": name, "type": type_} for name, type_ in emitted.items()]})
    for _ in range(6):
        name = f"s-{uuid.uuid4().hex[:8]}"
        body = {"name": name, "kind": "simulator", "dataset": dataset}
        assert app.http.post("/api/v1/sources", json=body).status_code == 201
    with app.gristmill.database.transaction() as connection:
        for method in ("hashjoin", "mergejoin", "hashagg", "material", "memoize", "sort"):
            connection.exec_driver_sql(f"SET LOCAL enable_{method} = off")
        assert len(leases.lease(connection, "me", ["simulator"], 10, 2)) == 2
