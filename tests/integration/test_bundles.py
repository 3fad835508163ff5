"""Small jobs that share a message: each is claimed, fenced and ended by itself, whatever happens to its neighbours."""

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.ends import counted
from tests.support.servers import add_database
from tests.support.system import eventually

from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.dispatcher import build_rescuer
from gristmill.bootstrap.registry import build_registry
from gristmill.bootstrap.shared import Gristmill
from gristmill.bootstrap.worker import build_executor
from gristmill.core.config import Settings
from gristmill.core.errors import Conflict, Unavailable
from gristmill.dispatcher.loop import bundle
from gristmill.jobs.cancel import cancel_job
from gristmill.jobs.errors import Drained, OutOfDate
from gristmill.jobs.handlers import ChunkTask
from gristmill.jobs.repository.claim import claim_all
from gristmill.jobs.repository.dispatch import Message, mark_sent, unclaimed, unsend
from gristmill.jobs.submit import WriteRequest
from gristmill.records.apply.tasks import INGEST
from gristmill.records.changes.tasks import DELETE, PATCH
from gristmill.records.ingest.service import IngestOptions
from gristmill.records.spool import BodySpool
from gristmill.records.submit import Write

pytestmark = pytest.mark.promise(2)

REQUEST = WriteRequest(principal="test", request_id="bundles")
FIELDS = [{"name": "k", "type": "text", "required": True}, {"name": "v", "type": "integer"}]


def rescue(mill: "Mill") -> None:
    """Take chunks whose leases have run out, which nobody does in the first seconds of Postgres."""
    eventually(build_rescuer(mill.gristmill).rescue_expired, "leases have run out", 60)


class Mill:
    """One dataset, and one worker whose messages the test makes and delivers."""

    def __init__(self, gristmill: Gristmill, key: bool = True) -> None:
        self.gristmill = gristmill
        self.database = gristmill.database
        self.services = ApiServices(gristmill)
        registry = build_registry(gristmill)
        self.handler: Any = registry.get(INGEST)
        self.handlers: list[Any] = [registry.get(type_) for type_ in (INGEST, PATCH, DELETE)]
        self.draining = False
        self.executor = build_executor(gristmill, registry, draining=lambda: self.draining)
        self.name = f"b{uuid.uuid4().hex[:8]}"
        contract = {"name": self.name, "fields": FIELDS, **({"key": ["k"]} if key else {})}
        self.services.datasets.create(contract, REQUEST)
        self.run(self.sent())

    def submit(self, *records: tuple[str, int], on_conflict: Any = "replace") -> uuid.UUID:
        body = BodySpool(self.services.spool, 10**6, b"")
        body.write(json.dumps([{"k": k, "v": v} for k, v in records]).encode())
        options = IngestOptions(on_conflict=on_conflict)
        return self.write(self.services.record_ingest.write(self.name, body, "application/json", options))

    def patch(self, key: str, v: int) -> uuid.UUID:
        return self.write(self.services.record_changes.patch(self.name, key, json.dumps({"v": v}).encode()))

    def delete(self, key: str) -> uuid.UUID:
        return self.write(self.services.record_changes.delete(self.name, key))

    def write(self, write: Write) -> uuid.UUID:
        return self.services.submitter.submit_blocking(write, REQUEST)

    def on_prepare(self, job_id: uuid.UUID, do: Callable[..., object]) -> None:
        """Call ``do`` whenever the chunk of this job is about to be prepared."""
        for handler in self.handlers:
            prepare = type(handler).prepare

            def prepared(task: ChunkTask, handler: Any = handler, prepare: Any = prepare) -> Any:
                if task.job_id == job_id:
                    do(task)
                return prepare(handler, task)

            handler.prepare = prepared

    def on_apply(self, job_id: uuid.UUID, do: Callable[[], object]) -> None:
        """Call ``do`` whenever the chunk of this job is about to be written, within the transaction."""
        for handler in self.handlers:
            apply_all = type(handler).apply_all

            def applied(connection: Any, group: Any, handler: Any = handler, apply_all: Any = apply_all) -> Any:
                if any(task.job_id == job_id for task, _ in group):
                    do()
                return apply_all(handler, connection, group)

            handler.apply_all = applied

    def sent(self) -> list[Message]:
        with self.database.transaction() as connection:
            return mark_sent(connection, "default", 100, 32)

    def run(self, chunks: list[Message]) -> str:
        return counted(self.executor.run_all([(chunk.job_id, chunk.number, chunk.dispatch) for chunk in chunks]))

    def before_write(self, job_id: uuid.UUID, do: Any) -> None:
        """Call ``do`` once, when the chunk of this job has been claimed and is about to be written."""
        prepare = type(self.handler).prepare

        def prepared(task: ChunkTask) -> Any:
            if task.job_id == job_id:
                del self.handler.prepare
                do()
            return prepare(self.handler, task)

        self.handler.prepare = prepared

    def always(self, job_id: uuid.UUID, error: Exception) -> None:
        prepare = type(self.handler).prepare

        def prepared(task: ChunkTask) -> Any:
            if task.job_id == job_id:
                raise error
            return prepare(self.handler, task)

        self.handler.prepare = prepared

    def table(self) -> dict[str, int]:
        return {row["k"]: row["v"] for row in self.query(f"SELECT k, v FROM data.{self.name}")}

    def job(self, job_id: uuid.UUID) -> dict[str, Any]:
        return self.services.jobs.get(job_id)

    def chunk(self, job_id: uuid.UUID) -> dict[str, Any]:
        return self.query("SELECT * FROM gristmill.chunks WHERE job_id = %(id)s", id=str(job_id))[0]

    def query(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        with self.database.autocommit() as connection:
            result = connection.exec_driver_sql(sql, parameters)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []


@pytest.fixture(scope="module")
def gristmill() -> Iterator[Gristmill]:
    url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"])
    found = Gristmill(Settings(database_url=url, jobs_retry_base=0.001, jobs_retry_max=0.001), "bundles")
    yield found
    found.database.close()


@pytest.fixture
def mill(gristmill: Gristmill) -> Iterator[Mill]:
    found = Mill(gristmill)
    yield found
    for handler in found.handlers:
        vars(handler).pop("prepare", None)
        vars(handler).pop("apply_all", None)


class TestTogether:
    def test_jobs_of_one_message_are_written_by_one_transaction_and_each_is_counted(self, mill: Mill) -> None:
        jobs = [mill.submit((f"k{n}", n), (f"m{n}", n)) for n in range(5)]
        messages = bundle(mill.sent(), 32, 1)
        assert [len(message) for message in messages] == [5]
        assert mill.run(messages[0]) == "5 done"
        for job_id in jobs:
            body = mill.job(job_id)
            assert (body["state"], body["record_counts"]["succeeded"], body["attempt"]) == ("succeeded", 2, 1)
        chunks = [mill.chunk(job_id) for job_id in jobs]
        assert len({chunk["xact"] for chunk in chunks}) == 1
        assert {chunk["fence"] for chunk in chunks} == {1}
        assert mill.table() == {f"{letter}{n}": n for letter in "km" for n in range(5)}
        for table in ("leases", "payloads"):
            left = f"SELECT 1 FROM gristmill.{table} WHERE job_id = ANY(%(jobs)s::uuid[])"
            assert not mill.query(left, jobs=[str(job_id) for job_id in jobs])

    def test_of_two_messages_for_one_chunk_the_later_one_alone_is_unclaimed(self, mill: Mill) -> None:
        mill.submit(("a", 1))
        (first,) = mill.sent()
        with mill.database.transaction() as connection:
            assert unclaimed(connection, [first]) == {first}
            unsend(connection, first.job_id, first.number, first.dispatch)
        (second,) = mill.sent()
        with mill.database.autocommit() as connection:
            assert unclaimed(connection, [first, second]) == {second}
        mill.run([second])
        with mill.database.autocommit() as connection:
            assert unclaimed(connection, [first, second]) == set()

    def test_neighbours_with_the_same_key_count_as_if_each_came_alone(self, mill: Mill) -> None:
        jobs = [mill.submit(("a", 1), ("a", 2)), mill.submit(("a", 3)), mill.submit(("b", 4)), mill.submit(("a", 5))]
        assert mill.run(mill.sent()) == "4 done"
        counts = [mill.job(job_id)["record_counts"] for job_id in jobs]
        assert [(one["succeeded"], one["superseded"]) for one in counts] == [(1, 1), (1, 0), (1, 0), (1, 0)]
        assert mill.table() == {"a": 5, "b": 4}

    def test_a_later_record_that_is_there_already_supersedes(self, mill: Mill) -> None:
        earlier, later = mill.submit(("a", 1)), mill.submit(("a", 2))
        other = mill.submit(("b", 3))
        by_job = {chunk.job_id: chunk for chunk in mill.sent()}
        mill.run([by_job[later]])
        assert mill.run([by_job[earlier], by_job[other]]) == "2 done"
        assert mill.job(earlier)["record_counts"]["superseded"] == 1
        assert mill.job(other)["record_counts"]["succeeded"] == 1
        assert mill.table() == {"a": 2, "b": 3}

    def test_a_dataset_without_key_gets_every_record(self, gristmill: Gristmill) -> None:
        mill = Mill(gristmill, key=False)
        jobs = [mill.submit(("same", n)) for n in range(3)]
        assert mill.run(mill.sent()) == "3 done"
        assert sorted(row["v"] for row in mill.query(f"SELECT v FROM data.{mill.name}")) == [0, 1, 2]
        assert [mill.job(job_id)["record_counts"]["succeeded"] for job_id in jobs] == [1, 1, 1]

    def test_what_has_several_chunks_or_many_records_travels_alone(self, mill: Mill) -> None:
        assert mill.gristmill.settings.jobs_chunk_records > 200
        large = mill.submit(*((f"k{n}", n) for n in range(201)))
        small = mill.submit(("k", 1))
        exclusive = mill.submit(("x", 1), on_conflict="fail")
        shares = {job_id: mill.chunk(job_id)["shares"] for job_id in (large, small, exclusive)}
        assert shares == {large: False, small: True, exclusive: True}
        by_job = {chunk.job_id: chunk for chunk in mill.sent()}
        assert exclusive not in by_job, "it waits for one that cannot share"
        mill.run([by_job[large]])
        mill.run([by_job[small]])
        assert mill.run(mill.sent()) == "done"


class TestProgress:
    def test_each_of_a_message_shows_its_own(self, mill: Mill) -> None:
        jobs = [mill.submit((f"k{n}", n)) for n in range(3)]

        def shown() -> list[float]:
            return [mill.job(job_id)["progress"] for job_id in jobs]

        def report(task: ChunkTask) -> None:
            task.report(0.5)
            eventually(lambda: shown() == [0, 0.5, 0], lambda: f"half of one is shown: {shown()}")

        mill.on_prepare(jobs[1], report)
        assert mill.run(mill.sent()) == "3 done"
        assert shown() == [1, 1, 1]

    def test_one_that_is_refused_or_cancelled_shows_nothing_done(self, mill: Mill) -> None:
        jobs = [mill.submit(("a", 1)), mill.patch("none", 2), mill.patch("a", 3)]
        sent = mill.sent()
        cancel_job(mill.database, mill.gristmill.notifier, jobs[2], "test")
        assert mill.run(sent) == "1 done, 1 failed, 1 dropped"
        assert [mill.job(job_id)["progress"] for job_id in jobs] == [1, 0, 0]


class TestNeighbours:
    """What goes wrong with one of five jobs changes nothing for the other four."""

    def submit(self, mill: Mill) -> tuple[list[uuid.UUID], uuid.UUID]:
        jobs = [mill.submit((f"k{n}", n)) for n in range(5)]
        return [job_id for job_id in jobs if job_id != jobs[2]], jobs[2]

    def check_others(self, mill: Mill, others: list[uuid.UUID]) -> None:
        assert [mill.job(job_id)["state"] for job_id in others] == ["succeeded"] * 4
        assert {key: mill.table().get(key) for key in ("k0", "k1", "k3", "k4")} == {"k0": 0, "k1": 1, "k3": 3, "k4": 4}

    def test_one_is_cancelled_before_the_claim(self, mill: Mill) -> None:
        others, one = self.submit(mill)
        sent = mill.sent()
        cancel_job(mill.database, mill.gristmill.notifier, one, "test")
        assert mill.run(sent) == "4 done, 1 dropped"
        self.check_others(mill, others)
        assert mill.job(one)["state"] == "cancelled"
        assert "k2" not in mill.table()

    def test_one_is_cancelled_after_the_claim(self, mill: Mill) -> None:
        others, one = self.submit(mill)
        sent = mill.sent()
        mill.before_write(one, lambda: cancel_job(mill.database, mill.gristmill.notifier, one, "test"))
        assert mill.run(sent) == "4 done, 1 cancelled"
        self.check_others(mill, others)
        assert mill.job(one)["state"] == "cancelled"
        assert "k2" not in mill.table()

    def test_one_was_sent_again_and_the_message_is_out_of_date_for_it(self, mill: Mill) -> None:
        others, one = self.submit(mill)
        sent = mill.sent()
        with mill.database.transaction() as connection:
            unsend(connection, *next((c.job_id, c.number, c.dispatch) for c in sent if c.job_id == one))
        again = mill.sent()
        assert mill.run(sent) == "4 done, 1 dropped"
        self.check_others(mill, others)
        assert mill.chunk(one)["state"] == "sent"
        assert mill.run(again) == "done"
        assert mill.table()["k2"] == 2

    def test_one_is_lost_to_another_worker_in_the_middle(self, mill: Mill) -> None:
        others, one = self.submit(mill)
        sent = mill.sent()

        def lose() -> None:
            mill.query("UPDATE gristmill.leases SET expires_at = now() - interval '1 s' WHERE job_id = %(id)s", id=one)
            rescue(mill)

        mill.before_write(one, lose)
        assert mill.run(sent) == "4 done, 1 lost"
        self.check_others(mill, others)
        assert "k2" not in mill.table()
        again = [message for message in bundle(mill.sent(), 32, 1) if message[0].job_id == one]
        # What was attempted before comes alone: it may be what a worker was lost to.
        assert [chunk.shares for chunk in again[0]] == [False]
        assert mill.run(again[0]) == "done"
        assert mill.table()["k2"] == 2
        assert mill.job(one)["attempt"] == 2

    @pytest.mark.parametrize("error", [Conflict("never"), RuntimeError("a defect")])
    def test_one_fails_while_it_is_prepared(self, mill: Mill, error: Exception) -> None:
        others, one = self.submit(mill)
        mill.always(one, error)
        assert mill.run(mill.sent()) == "4 done, 1 failed"
        self.check_others(mill, others)
        assert mill.job(one)["state"] == "failed"
        assert "k2" not in mill.table()

    def test_one_is_refused_by_the_table(self, mill: Mill) -> None:
        others, one = self.submit(mill)
        mill.query(f"ALTER TABLE data.{mill.name} ADD CHECK (v <> 2)")
        assert mill.run(mill.sent()) == "4 done, 1 failed"
        self.check_others(mill, others)
        assert mill.job(one)["state"] == "failed"
        assert len({mill.chunk(job_id)["xact"] for job_id in others}) == 4

    def test_one_is_to_be_tried_again(self, mill: Mill) -> None:
        others, one = self.submit(mill)
        mill.always(one, Unavailable("not now"))
        assert mill.run(mill.sent()) == "4 done, 1 retried"
        self.check_others(mill, others)
        assert mill.job(one)["state"] == "running"
        assert mill.chunk(one)["state"] == "waiting"

    def test_a_message_that_comes_twice_changes_nothing(self, mill: Mill) -> None:
        others, one = self.submit(mill)
        sent = mill.sent()
        assert mill.run(sent) == "5 done"
        before = mill.query(f"SELECT _id, _seq, k, v FROM data.{mill.name} ORDER BY k")
        assert mill.run(sent) == "5 dropped"
        assert mill.run(sent[1:3]) == "2 dropped"
        assert mill.query(f"SELECT _id, _seq, k, v FROM data.{mill.name} ORDER BY k") == before
        self.check_others(mill, [*others[:2], *others[2:]])
        assert mill.job(one)["record_counts"]["succeeded"] == 1

    def test_time_that_runs_out_gives_the_rest_back_to_come_alone(self, mill: Mill) -> None:
        others, one = self.submit(mill)
        mill.always(one, TimeoutError("soft limit"))
        assert mill.run(mill.sent()) == "5 retried"
        vars(mill.handler).pop("prepare")
        again = bundle(mill.sent(), 32, 1)
        assert [len(message) for message in again] == [1] * 5
        for message in again:
            assert mill.run(message) == "done"
        self.check_others(mill, others)

    def test_a_dropped_dataset_cancels_each_with_that_reason(self, mill: Mill) -> None:
        others, one = self.submit(mill)
        sent = mill.sent()
        mill.query(
            "UPDATE gristmill.datasets SET state = 'dropped', dropped_at = now() WHERE name = %(n)s", n=mill.name
        )
        mill.run(sent)
        for job_id in (*others, one):
            assert mill.job(job_id)["state"] == "cancelled"
            assert "dropped" in mill.job(job_id)["error"]["detail"]
        assert mill.table() == {}


class TestRun:
    """Consecutive jobs of one dataset, exclusive ones among them, in one message: carried out in their order."""

    def submit(self, mill: Mill) -> list[uuid.UUID]:
        """Six jobs of which each needs the one before: the record is patched, deleted, made anew and patched."""
        return [
            mill.submit(("a", 1), ("b", 1)),
            mill.patch("a", 2),
            mill.delete("b"),
            mill.submit(("b", 3), ("c", 3)),
            mill.patch("b", 4),
            mill.patch("c", 5),
        ]

    def states(self, mill: Mill, jobs: list[uuid.UUID]) -> list[str]:
        return [mill.job(job_id)["state"] for job_id in jobs]

    def finish(self, mill: Mill) -> None:
        """Carry out whatever is left, as it falls due."""
        deadline = time.monotonic() + 10
        unfinished = "SELECT type, state, seq FROM gristmill.jobs WHERE finished_at IS NULL AND dataset = %(name)s"
        while left := mill.query(unfinished, name=mill.name):
            assert time.monotonic() < deadline, left
            for message in bundle(mill.sent(), 32, 1):
                mill.run(message)

    def test_is_one_message_and_one_transaction(self, mill: Mill) -> None:
        jobs = self.submit(mill)
        messages = bundle(mill.sent(), 32, 2)
        assert [[chunk.job_id for chunk in message] for message in messages] == [jobs]
        assert mill.run(messages[0]) == "6 done"
        assert self.states(mill, jobs) == ["succeeded"] * 6
        assert mill.table() == {"a": 2, "b": 4, "c": 5}
        chunks = [mill.chunk(job_id) for job_id in jobs]
        assert len({chunk["xact"] for chunk in chunks}) == 1
        assert {(chunk["fence"], chunk["attempts"]) for chunk in chunks} == {(1, 1)}
        assert [mill.job(job_id)["record_counts"]["succeeded"] for job_id in jobs] == [2, 1, 1, 2, 1, 1]
        assert mill.job(jobs[2])["result"] == {"deleted": 1}
        for table in ("leases", "payloads"):
            left = f"SELECT FROM gristmill.{table} WHERE job_id = ANY(%(ids)s::uuid[])"
            assert not mill.query(left, ids=list(map(str, jobs)))

    def test_a_refusal_ends_its_job_and_the_next_goes_on(self, mill: Mill) -> None:
        jobs = [
            mill.submit(("a", 1)),
            mill.patch("none", 2),
            mill.patch("a", 3),
            mill.submit(("a", 9), ("n", 9), on_conflict="fail"),
            mill.delete("gone"),
            mill.submit(("b", 4), on_conflict="fail"),
        ]
        assert mill.run(mill.sent()) == "3 done, 3 failed"
        states = ["succeeded", "failed", "succeeded", "failed", "failed", "succeeded"]
        assert self.states(mill, jobs) == states
        codes = [(mill.job(job_id)["error"] or {}).get("code") for job_id in jobs]
        assert codes == [None, "unknown_record", None, "key_exists", "unknown_record", None]
        assert mill.table() == {"a": 3, "b": 4}
        assert (
            len(
                {mill.chunk(job_id)["xact"] for job_id, state in zip(jobs, states, strict=True) if state == "succeeded"}
            )
            == 1
        )

    def test_waits_for_what_cannot_share_and_later_ones_wait_for_it(self, mill: Mill) -> None:
        large = mill.submit(*((f"k{n}", n) for n in range(201)))
        small = mill.submit(("a", 1))
        patch, later = mill.patch("a", 2), mill.submit(("a", 3))
        first = mill.sent()
        assert {chunk.job_id for chunk in first} == {large, small}
        assert not mill.sent()
        mill.run([chunk for chunk in first if chunk.job_id == small])
        assert not mill.sent()
        mill.run([chunk for chunk in first if chunk.job_id == large])
        second = mill.sent()
        assert [chunk.job_id for chunk in second] == [patch, later]
        assert mill.run(second) == "2 done"
        assert mill.table()["a"] == 3

    def test_has_no_more_chunks_and_records_than_a_message_may_have(self, mill: Mill) -> None:
        jobs = [mill.submit(*((f"k{n}", n) for n in range(150)), on_conflict="fail") for _ in range(8)]
        first = mill.sent()
        assert [chunk.job_id for chunk in first] == jobs[:6]
        mill.run(first)
        assert [chunk.job_id for chunk in mill.sent()] == jobs[6:]

    def test_other_datasets_go_in_messages_of_their_own(self, mill: Mill, gristmill: Gristmill) -> None:
        other = Mill(gristmill)
        jobs, others = self.submit(mill), [other.submit(("x", 1)), other.submit(("y", 2))]
        messages = [[chunk.job_id for chunk in message] for message in bundle(mill.sent(), 32, 2)]
        assert sorted(messages) == sorted([jobs, others])

    def test_a_message_that_comes_twice_changes_nothing(self, mill: Mill) -> None:
        self.submit(mill)
        sent = mill.sent()
        mill.run(sent)
        before = mill.query(f"SELECT _id, _seq, k, v FROM data.{mill.name} ORDER BY k")
        assert mill.run(sent) == "6 dropped"
        assert mill.run(sent[2:]) == "4 dropped"
        assert mill.query(f"SELECT _id, _seq, k, v FROM data.{mill.name} ORDER BY k") == before

    def test_one_is_cancelled_before_the_claim(self, mill: Mill) -> None:
        jobs = self.submit(mill)
        sent = mill.sent()
        cancel_job(mill.database, mill.gristmill.notifier, jobs[2], "test")
        assert mill.run(sent) == "5 done, 1 dropped"
        assert mill.job(jobs[2])["state"] == "cancelled"
        assert mill.table() == {"a": 2, "b": 4, "c": 5}

    def test_one_is_cancelled_after_the_claim(self, mill: Mill) -> None:
        jobs = self.submit(mill)
        sent = mill.sent()
        mill.on_apply(jobs[4], once(lambda: cancel_job(mill.database, mill.gristmill.notifier, jobs[4], "test")))
        assert mill.run(sent) == "5 done, 1 cancelled"
        assert mill.job(jobs[4])["state"] == "cancelled"
        assert mill.table() == {"a": 2, "b": 3, "c": 5}

    @pytest.mark.promise(3)
    @pytest.mark.parametrize("place", [0, 1, 3])
    def test_a_message_that_is_out_of_date_for_one_leaves_the_later_ones(self, mill: Mill, place: int) -> None:
        jobs = self.submit(mill)
        sent = mill.sent()
        with mill.database.transaction() as connection:
            unsend(connection, sent[place].job_id, sent[place].number, sent[place].dispatch)
        again = mill.sent()
        assert [chunk.job_id for chunk in again] == ([jobs[0]] if place == 0 else [])
        done, returned = [f"{place} done"] if place else [], [f"{5 - place} returned"]
        assert mill.run(sent) == ", ".join([*done, "1 dropped", *returned])
        assert [mill.chunk(job_id)["state"] for job_id in jobs[place + 1 :]] == ["waiting"] * (5 - place)
        assert {mill.chunk(job_id)["attempts"] for job_id in jobs[place + 1 :]} == {0}
        if again:
            assert mill.run(again) == "done"
        self.finish(mill)
        assert self.states(mill, jobs) == ["succeeded"] * 6
        assert mill.table() == {"a": 2, "b": 4, "c": 5}

    @pytest.mark.promise(3)
    def test_one_is_claimed_by_nobody_while_an_earlier_one_of_another_message_is_not_done(self, mill: Mill) -> None:
        """A message for the end of a run must not overtake its beginning, whoever made it."""
        jobs = self.submit(mill)
        sent = mill.sent()
        assert mill.run(sent[2:]) == "4 returned"
        assert mill.run([sent[4]]) == "dropped"
        assert {mill.chunk(job_id)["state"] for job_id in jobs[2:]} == {"waiting"}
        assert mill.run(sent[:2]) == "2 done"
        self.finish(mill)
        assert mill.table() == {"a": 2, "b": 4, "c": 5}

    @pytest.mark.promise(3)
    def test_one_is_changed_by_somebody_else_in_the_moment_of_the_claim(self, mill: Mill) -> None:
        """The claim waits for the row of the second chunk, which is sent again meanwhile."""
        jobs = self.submit(mill)
        sent = mill.sent()
        ends: list[str] = []
        with mill.database.transaction() as connection:
            unsend(connection, sent[1].job_id, sent[1].number, sent[1].dispatch)
            thread = threading.Thread(target=lambda: ends.append(mill.run(sent)))
            thread.start()
            eventually(
                lambda: mill.query("SELECT FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'"),
                "the claim waits for the row",
            )
        thread.join(timeout=20)
        assert ends == ["1 done, 1 dropped, 4 returned"]
        assert {mill.chunk(job_id)["attempts"] for job_id in jobs[2:]} == {0}
        self.finish(mill)
        assert self.states(mill, jobs) == ["succeeded"] * 6
        assert mill.table() == {"a": 2, "b": 4, "c": 5}

    @pytest.mark.promise(3)
    def test_one_is_lost_to_another_worker_in_the_middle(self, mill: Mill) -> None:
        jobs = self.submit(mill)
        sent = mill.sent()

        def lose() -> None:
            mill.query(
                "UPDATE gristmill.leases SET expires_at = now() - interval '1 s' WHERE job_id = %(id)s", id=jobs[2]
            )
            rescue(mill)

        mill.on_apply(jobs[2], once(lose))
        assert mill.run(sent) == "2 done, 1 lost, 3 returned"
        assert mill.table() == {"a": 2, "b": 1}
        self.finish(mill)
        assert self.states(mill, jobs) == ["succeeded"] * 6
        assert mill.table() == {"a": 2, "b": 4, "c": 5}
        assert [mill.job(job_id)["attempt"] for job_id in jobs] == [1, 1, 2, 1, 1, 1]

    @pytest.mark.promise(3)
    @pytest.mark.parametrize("stage", ["prepare", "apply"])
    def test_one_is_to_be_tried_again(self, mill: Mill, stage: str) -> None:
        jobs = self.submit(mill)

        def refuse(*_: Any) -> None:
            if mill.chunk(jobs[2])["attempts"] == 1:
                raise Unavailable("not now")

        (mill.on_prepare if stage == "prepare" else mill.on_apply)(jobs[2], refuse)
        assert mill.run(mill.sent()) == "2 done, 1 retried, 3 returned"
        assert mill.table() == {"a": 2, "b": 1}
        assert [mill.chunk(job_id)["attempts"] for job_id in jobs] == [1, 1, 1, 0, 0, 0]
        self.finish(mill)
        assert self.states(mill, jobs) == ["succeeded"] * 6
        assert mill.table() == {"a": 2, "b": 4, "c": 5}

    @pytest.mark.promise(3)
    def test_nothing_overtakes_one_that_is_out_of_date_and_cannot_be_prepared_again(self, mill: Mill) -> None:
        jobs = self.submit(mill)
        trouble = {"apply": 0, "prepare": 0}

        def out_of_date() -> None:
            trouble["apply"] += 1
            if trouble["apply"] == 1:
                raise OutOfDate("changed since")

        def unavailable(_: ChunkTask) -> None:
            trouble["prepare"] += 1
            if trouble["prepare"] == 2:
                raise Unavailable("not now")

        mill.on_apply(jobs[4], out_of_date)
        mill.on_prepare(jobs[4], unavailable)
        mill.run(mill.sent())
        assert trouble["prepare"] >= 2
        first = self.states(mill, jobs)
        # The last one patches what the fourth made; it must not be written before the fifth.
        assert not (first[5] == "succeeded" and first[4] != "succeeded")
        self.finish(mill)
        numbers = [mill.chunk(job_id)["xact"] for job_id in jobs]
        assert numbers == sorted(numbers)
        assert mill.table() == {"a": 2, "b": 4, "c": 5}

    @pytest.mark.promise(3)
    def test_what_is_refused_while_an_earlier_one_is_not_written_is_asked_again(self, mill: Mill) -> None:
        jobs = self.submit(mill)

        def refuse(_: ChunkTask) -> None:
            if mill.job(jobs[0])["state"] != "succeeded":
                raise Conflict("what the first one writes is not there yet")

        mill.on_prepare(jobs[1], refuse)
        assert mill.run(mill.sent()) == "6 done"
        assert self.states(mill, jobs) == ["succeeded"] * 6
        assert mill.table() == {"a": 2, "b": 4, "c": 5}

    @pytest.mark.parametrize("stage", ["prepare", "apply"])
    @pytest.mark.parametrize("error", [Conflict("never"), RuntimeError("a defect")])
    def test_one_fails_for_good(self, mill: Mill, error: Exception, stage: str) -> None:
        jobs = self.submit(mill)

        def fail(*_: Any) -> None:
            raise error

        (mill.on_prepare if stage == "prepare" else mill.on_apply)(jobs[1], fail)
        assert mill.run(mill.sent()) in ("5 done, 1 failed", "1 done, 1 failed, 4 done")
        assert self.states(mill, jobs) == ["succeeded", "failed"] + ["succeeded"] * 4
        assert mill.table() == {"a": 1, "b": 4, "c": 5}

    def test_one_is_refused_by_the_table(self, mill: Mill) -> None:
        jobs = self.submit(mill)
        mill.query(f"ALTER TABLE data.{mill.name} ADD CHECK (v <> 2)")
        assert mill.run(mill.sent()) == "5 done, 1 failed"
        assert self.states(mill, jobs) == ["succeeded", "failed"] + ["succeeded"] * 4
        assert mill.table() == {"a": 1, "b": 4, "c": 5}

    def test_time_that_runs_out_for_one_alone_returns_the_later_ones(self, mill: Mill) -> None:
        jobs = self.submit(mill)

        def exceed(*_: Any) -> None:
            # The first time it is something else, so that the chunk is run alone.
            if mill.chunk(jobs[2])["attempts"] == 1:
                raise (RuntimeError if first else TimeoutError)(first and first.pop())

        first = ["something else"]
        mill.on_prepare(jobs[2], exceed)
        assert mill.run(mill.sent()) == "2 done, 1 retried, 3 returned"
        assert [mill.chunk(job_id)["attempts"] for job_id in jobs] == [1, 1, 1, 0, 0, 0]
        assert mill.job(jobs[2])["state"] == "running"
        self.finish(mill)
        assert mill.table() == {"a": 2, "b": 4, "c": 5}

    @pytest.mark.parametrize("stage", ["prepare", "apply"])
    def test_time_that_runs_out_counts_no_attempt_of_those_whose_turn_had_not_come(
        self, mill: Mill, stage: str
    ) -> None:
        jobs = self.submit(mill)

        def exceed() -> None:
            raise TimeoutError("soft limit")

        (mill.on_prepare if stage == "prepare" else mill.on_apply)(jobs[2], once(exceed))
        assert mill.run(mill.sent()) == "3 retried, 3 returned"
        assert [mill.chunk(job_id)["attempts"] for job_id in jobs] == [1, 1, 1, 0, 0, 0]
        assert mill.table() == {}
        self.finish(mill)
        assert self.states(mill, jobs) == ["succeeded"] * 6
        assert mill.table() == {"a": 2, "b": 4, "c": 5}

    def test_a_drain_gives_all_back(self, mill: Mill) -> None:
        jobs = self.submit(mill)

        def drain() -> None:
            mill.draining = True
            raise Drained("the worker is shutting down")

        mill.on_prepare(jobs[2], once(drain))
        assert mill.run(mill.sent()) == "2 done, 4 drained"
        assert self.states(mill, jobs) == ["succeeded"] * 2 + ["running"] * 4
        assert [mill.chunk(job_id)["attempts"] for job_id in jobs] == [1, 1, 0, 0, 0, 0]
        mill.draining = False
        self.finish(mill)
        assert mill.table() == {"a": 2, "b": 4, "c": 5}

    def test_a_worker_that_is_lost_loses_one_attempt_of_each_and_no_order(self, mill: Mill) -> None:
        jobs = self.submit(mill)
        addresses = [(chunk.job_id, chunk.number, chunk.dispatch) for chunk in mill.sent()]
        with mill.database.autocommit() as connection:
            claim_all(connection, addresses, 60, "a worker that dies now")
        mill.query("UPDATE gristmill.leases SET expires_at = now() - interval '1 s'")
        rescue(mill)
        self.finish(mill)
        assert self.states(mill, jobs) == ["succeeded"] * 6
        assert mill.table() == {"a": 2, "b": 4, "c": 5}
        assert [mill.job(job_id)["attempt"] for job_id in jobs] == [2] * 6

    def test_a_dropped_dataset_cancels_each_with_that_reason(self, mill: Mill) -> None:
        jobs = self.submit(mill)
        sent = mill.sent()
        mill.query(
            "UPDATE gristmill.datasets SET state = 'dropped', dropped_at = now() WHERE name = %(n)s", n=mill.name
        )
        assert mill.run(sent) == "6 cancelled"
        assert all("dropped" in mill.job(job_id)["error"]["detail"] for job_id in jobs)
        assert mill.table() == {}


def once(do: Callable[[], object]) -> Callable[..., None]:
    """Return a function that calls ``do`` the first time only."""
    left = [do]

    def call(*_: Any) -> None:
        if left:
            left.pop()()

    return call
