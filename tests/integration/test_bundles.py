"""Small jobs that share a message: each is claimed, fenced and ended by itself, whatever happens to its neighbours."""

import json
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.servers import add_database

from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.dispatcher import build_rescuer
from gristmill.bootstrap.registry import build_registry
from gristmill.bootstrap.shared import Gristmill
from gristmill.bootstrap.worker import build_executor
from gristmill.core.config import Settings
from gristmill.core.errors import Conflict, Unavailable
from gristmill.dispatcher.loop import bundle
from gristmill.jobs.cancel import cancel_job
from gristmill.jobs.handlers import ChunkTask
from gristmill.jobs.repository.dispatch import Message, mark_sent, unsend
from gristmill.jobs.submit import WriteRequest
from gristmill.records.apply.tasks import INGEST
from gristmill.records.ingest.service import IngestOptions
from gristmill.records.spool import BodySpool

pytestmark = pytest.mark.promise(2)

REQUEST = WriteRequest(principal="test", request_id="bundles")
FIELDS = [{"name": "k", "type": "text", "required": True}, {"name": "v", "type": "integer"}]


class Mill:
    """One dataset, and one worker whose messages the test makes and delivers."""

    def __init__(self, gristmill: Gristmill, key: bool = True) -> None:
        self.gristmill = gristmill
        self.database = gristmill.database
        self.services = ApiServices(gristmill)
        registry = build_registry(gristmill)
        self.handler: Any = registry.get(INGEST)
        self.executor = build_executor(gristmill, registry)
        self.name = f"b{uuid.uuid4().hex[:8]}"
        contract = {"name": self.name, "fields": FIELDS, **({"key": ["k"]} if key else {})}
        self.services.datasets.create(contract, REQUEST)
        self.run(self.sent())

    def submit(self, *records: tuple[str, int], on_conflict: Any = "replace") -> uuid.UUID:
        body = BodySpool(self.services.spool, 10**6, b"")
        body.write(json.dumps([{"k": k, "v": v} for k, v in records]).encode())
        options = IngestOptions(on_conflict=on_conflict)
        return self.services.record_ingest.ingest(self.name, body, "application/json", options, REQUEST)

    def sent(self) -> list[Message]:
        with self.database.transaction() as connection:
            return mark_sent(connection, "default", 100)

    def run(self, chunks: list[Message]) -> str:
        return self.executor.run_all([(chunk.job_id, chunk.number, chunk.dispatch) for chunk in chunks])

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
    vars(found.handler).pop("prepare", None)


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
        assert not mill.query("SELECT 1 FROM gristmill.leases")
        assert not mill.query("SELECT 1 FROM gristmill.payloads")

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

    def test_what_has_several_chunks_one_attempt_or_an_order_of_its_own_travels_alone(self, mill: Mill) -> None:
        assert mill.gristmill.settings.jobs_chunk_records > 200
        large = mill.submit(*((f"k{n}", n) for n in range(201)))
        small = mill.submit(("k", 1))
        exclusive = mill.submit(("x", 1), on_conflict="fail")
        shares = {job_id: mill.chunk(job_id)["shares"] for job_id in (large, small, exclusive)}
        assert shares == {large: False, small: True, exclusive: False}
        mill.run(mill.sent())
        mill.run(mill.sent())


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
        assert mill.run(sent) == "4 done"
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
        assert mill.run(sent) == "4 done"
        self.check_others(mill, others)
        assert mill.chunk(one)["state"] == "sent"
        assert mill.run(again) == "done"
        assert mill.table()["k2"] == 2

    def test_one_is_lost_to_another_worker_in_the_middle(self, mill: Mill) -> None:
        others, one = self.submit(mill)
        sent = mill.sent()

        def lose() -> None:
            mill.query("UPDATE gristmill.leases SET expires_at = now() - interval '1 s' WHERE job_id = %(id)s", id=one)
            build_rescuer(mill.gristmill).rescue_expired()

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
        assert mill.run(sent) == "dropped"
        assert mill.run(sent[1:3]) == "dropped"
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
