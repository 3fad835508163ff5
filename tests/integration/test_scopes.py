"""Jobs over several scopes, shared or exclusive in each, and jobs whose chunks run one after another."""

import collections
import itertools
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection
from tests.support.ends import counted
from tests.support.servers import add_database

from gristmill.bootstrap.registry import build_registry
from gristmill.bootstrap.shared import Gristmill
from gristmill.bootstrap.worker import build_executor
from gristmill.core.config import Settings
from gristmill.core.errors import Conflict, Unavailable
from gristmill.dispatcher.loop import bundle
from gristmill.jobs.cancel import cancel_job
from gristmill.jobs.errors import NotRetryable
from gristmill.jobs.handlers import ChunkTask, Outcome, TransactionalHandler
from gristmill.jobs.maintenance.cleanup import prune
from gristmill.jobs.repository.dispatch import Message, mark_sent, unsend
from gristmill.jobs.retry import retry_job
from gristmill.jobs.submit import NewChunk, NewJob, WriteRequest, submit

pytestmark = pytest.mark.promise(3)

REQUEST = WriteRequest(principal="test", request_id="scopes")
# Values of scopes stay below this.
PRIME = 1_000_003
Scopes = dict[str, bool]
"""The scopes of a job, the first one its own, and whether it is exclusive in each."""

SCOPE = st.tuples(st.sampled_from("abc"), st.booleans())
SCOPES = st.lists(SCOPE, min_size=1, max_size=3, unique_by=lambda one: one[0])
FAULT = st.sampled_from([None] * 6 + ["refuse", "again"])
OPERATIONS = st.one_of(
    st.tuples(st.just("job"), SCOPES, st.integers(1, 99), FAULT, st.booleans()),
    st.tuples(st.just("job"), SCOPES, st.integers(1, 99), FAULT, st.booleans()),
    st.tuples(st.just("work"), st.integers(1, 5)),
)


class Reckon(TransactionalHandler):
    """Shared jobs add to the value of a scope, in any order; exclusive ones multiply it first, so that order shows."""

    type = "test.reckon"

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        for scope, exclusive in sorted(task.args["scopes"].items()):
            connection.exec_driver_sql(
                "UPDATE data.reckoned SET value = (value * %(factor)s + %(n)s) %% %(prime)s WHERE scope = %(scope)s",
                {"factor": 3 if exclusive else 1, "n": task.args["n"], "prime": PRIME, "scope": scope},
            )
        if task.args["fault"] == "refuse":
            raise Conflict("on purpose, after it has written")
        if task.args["fault"] == "again" and task.attempt == 1:
            raise Unavailable("not now, on purpose")
        return Outcome(succeeded=1)


class Mill:
    """Submitting and two workers, in one process."""

    def __init__(self, url: str) -> None:
        options = Settings(database_url=url, jobs_retry_base=0.001, jobs_retry_max=0.001, log_level="error")
        self.gristmill = Gristmill(options, "scopes", pool=4)
        self.database = self.gristmill.database
        self.names = (f"s{number}" for number in itertools.count())
        workers = [Gristmill(options, f"scopes-worker{number}") for number in range(2)]
        self.processes = [self.gristmill, *workers]
        self.executors: collections.deque[Any] = collections.deque()
        for worker in workers:
            registry = build_registry(worker)
            registry.add(Reckon())
            self.executors.append(build_executor(worker, registry))
        self.pool = ThreadPoolExecutor(2)
        self.query("CREATE TABLE data.reckoned (scope text PRIMARY KEY, value bigint NOT NULL DEFAULT 0)")

    def submit(self, scopes: Scopes, n: int = 1, fault: str | None = None, **options: Any) -> uuid.UUID:
        options = {"shares": True, "chunks": 1, "serial": False, **options}
        (own, exclusive), *further = scopes.items()
        chunks = [NewChunk(number, 1, b"x") for number in range(options.pop("chunks"))]
        serial = options.pop("serial")
        args = {"scopes": scopes, "n": n, "fault": fault}
        job = NewJob("test.reckon", own, exclusive, args, None, chunks, **options)
        with self.database.transaction() as connection:
            job_id = submit(connection, job, REQUEST)
            for scope, exclusive in further:
                connection.exec_driver_sql(
                    "INSERT INTO gristmill.further_scopes (job_id, scope, exclusive) VALUES (%s, %s, %s)",
                    (str(job_id), scope, exclusive),
                )
            if serial:
                connection.exec_driver_sql("UPDATE gristmill.jobs SET serial = true WHERE id = %s", (str(job_id),))
            for scope in scopes:
                connection.exec_driver_sql("INSERT INTO data.reckoned VALUES (%s) ON CONFLICT DO NOTHING", (scope,))
        return job_id

    def sent(self, most: int = 32) -> list[Message]:
        with self.database.transaction() as connection:
            return mark_sent(connection, "default", 100, most)

    def run(self, chunks: list[Message]) -> str:
        executor = self.executors.popleft()
        try:
            return counted(executor.run_all([(chunk.job_id, chunk.number, chunk.dispatch) for chunk in chunks]))
        finally:
            self.executors.append(executor)

    def work(self, random: Random, limit: int = 10_000) -> None:
        """Run due chunks on both workers until there are none, or until ``limit`` were begun."""
        running: set[Future[str]] = set()
        while True:
            most = random.choice([1, 3, 32])
            messages: list[Message] = []
            if limit > 0:
                with self.database.transaction() as connection:
                    messages = mark_sent(connection, "default", min(limit, random.randint(1, 4)), most)
            limit -= len(messages)
            bundles = bundle(messages, most, 2)
            random.shuffle(bundles)
            for chunks in bundles:
                if len(chunks) > 1 and random.random() < 0.2:
                    # One of the message is sent again meanwhile: it and what comes after it must not run from this one.
                    with self.database.transaction() as connection:
                        lost = random.choice(chunks)
                        unsend(connection, lost.job_id, lost.number, lost.dispatch)
                for _ in range(random.choice([1, 1, 2])):
                    running.add(self.pool.submit(self.run, chunks))
            if not messages and not running and (limit <= 0 or not self.waiting()):
                return
            done, running = wait(running, 1, FIRST_COMPLETED) if running else (set(), running)
            for future in done:
                future.result()

    def waiting(self) -> bool:
        return bool(self.query("SELECT FROM gristmill.chunks WHERE state IN ('waiting', 'sent')"))

    def job(self, job_id: uuid.UUID) -> dict[str, Any]:
        return self.query("SELECT * FROM gristmill.jobs WHERE id = %(id)s", id=str(job_id))[0]

    def query(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        with self.database.autocommit() as connection:
            result = connection.exec_driver_sql(sql, parameters)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []


@pytest.fixture(scope="module")
def mill() -> Iterator[Mill]:
    found = Mill(add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"]))
    yield found
    found.pool.shutdown()
    for process in found.processes:
        process.database.close()


class TestOrder:
    @settings(max_examples=int(os.environ.get("GRISTMILL_TEST_ORDER_EXAMPLES", "60")), print_blob=False)
    @given(operations=st.lists(OPERATIONS, min_size=3, max_size=16), seed=st.integers(0, 2**32))
    def test_every_scope_ends_as_after_one_job_at_a_time(
        self, mill: Mill, operations: list[tuple[Any, ...]], seed: int
    ) -> None:
        random, prefix = Random(seed), next(mill.names)
        expected: dict[str, int] = collections.defaultdict(int)
        states: dict[uuid.UUID, str] = {}
        for kind, *rest in operations:
            if kind == "work":
                mill.work(random, rest[0])
                continue
            scopes, n, fault, shares = {f"{prefix}{name}": exclusive for name, exclusive in rest[0]}, *rest[1:]
            job_id = mill.submit(scopes, n, fault, shares=shares)
            states[job_id] = "failed" if fault == "refuse" else "succeeded"
            for scope, exclusive in scopes.items() if fault != "refuse" else ():
                expected[scope] = (expected[scope] * (3 if exclusive else 1) + n) % PRIME
        mill.work(random)
        assert {job_id: mill.job(job_id)["state"] for job_id in states} == states
        values = mill.query("SELECT scope, value FROM data.reckoned WHERE scope ~ %(p)s", p=f"^{prefix}[abc]$")
        found = {row["scope"]: row["value"] for row in values}
        assert {scope: value for scope, value in found.items() if value} == dict(expected)


class TestConflicts:
    """Whether a later job waits for an earlier one: where they share a scope and one is exclusive in it."""

    @pytest.mark.parametrize(
        ("earlier", "later", "waits"),
        [
            ({"a": True}, {"a": False}, True),
            ({"a": False}, {"a": False}, False),
            ({"a": False, "b": True}, {"b": False}, True),
            ({"a": False, "b": False}, {"b": True}, True),
            ({"a": False, "b": False}, {"b": False}, False),
            ({"b": True}, {"a": False, "b": False}, True),
            ({"b": False}, {"a": True, "b": False}, False),
            ({"b": False}, {"a": False, "b": True}, True),
            ({"a": False, "c": True}, {"b": False, "c": False}, True),
            ({"a": False, "c": False}, {"b": True, "c": False}, False),
            ({"a": False, "c": False}, {"b": False, "c": True}, True),
        ],
    )
    def test_is_decided_in_every_scope(self, mill: Mill, earlier: Scopes, later: Scopes, waits: bool) -> None:
        prefix = next(mill.names)
        first = mill.submit({prefix + scope: exclusive for scope, exclusive in earlier.items()}, shares=False)
        second = mill.submit({prefix + scope: exclusive for scope, exclusive in later.items()}, shares=False)
        sent = {message.job_id: message for message in mill.sent()}
        assert set(sent) == ({first} if waits else {first, second})
        assert mill.run([sent[first]]) == "done"
        rest = [sent[second]] if not waits else mill.sent()
        assert [message.job_id for message in rest] == [second]
        assert mill.run(rest) == "done"

    def test_a_run_takes_along_what_waits_in_a_further_scope_for_nobody_but_the_run(self, mill: Mill) -> None:
        """Children of one parent: each write is exclusive in the parent's scope too."""
        child, parent = next(mill.names), next(mill.names)
        jobs = [mill.submit({child: False, parent: True}) for _ in range(3)]
        assert [[chunk.job_id for chunk in message] for message in bundle(mill.sent(), 32, 2)] == [jobs[:1]]
        # The first one is under way. Each of them is plain in its own scope, so that there is no run of it.
        exclusive = [mill.submit({child: True, parent: True}) for _ in range(2)]
        assert not mill.sent()
        for _ in range(10):
            for row in mill.query("SELECT job_id, dispatch FROM gristmill.chunks WHERE state = 'sent'"):
                mill.run([Message(row["job_id"], 0, row["dispatch"], "", 5, 0)])
            for message in bundle(mill.sent(), 32, 2):
                mill.run(message)
        assert [mill.job(job_id)["state"] for job_id in (*jobs, *exclusive)] == ["succeeded"] * 5

    def test_a_run_ends_before_what_waits_in_a_further_scope_for_somebody_else(self, mill: Mill) -> None:
        own, other = next(mill.names), next(mill.names)
        elsewhere = mill.submit({other: False})
        first, second = mill.submit({own: True}), mill.submit({own: True})
        third, fourth = mill.submit({own: True, other: True}), mill.submit({own: True})
        messages = bundle(mill.sent(), 32, 2)
        assert sorted([chunk.job_id for chunk in message] for message in messages) == [[elsewhere], [first, second]]
        for message in messages:
            mill.run(message)
        assert mill.run(mill.sent()) == "2 done"
        assert [mill.job(job_id)["state"] for job_id in (third, fourth)] == ["succeeded"] * 2


class TestHistory:
    """What has finished is in nobody's way, and still counts for a retry."""

    @pytest.mark.parametrize("end", ["succeeded", "failed", "cancelled"])
    def test_a_job_that_has_finished_leaves_the_index_of_live_scopes(self, mill: Mill, end: str) -> None:
        own, other = next(mill.names), next(mill.names)
        job_id = mill.submit({own: False, other: True}, fault="refuse" if end == "failed" else None)
        live = "SELECT FROM gristmill.further_scopes WHERE scope = %(scope)s AND NOT finished"
        assert mill.query(live, scope=other)
        if end == "cancelled":
            cancel_job(mill.database, mill.gristmill.notifier, job_id, "test")
        else:
            mill.run(mill.sent())
        assert mill.job(job_id)["state"] == end
        assert not mill.query(live, scope=other)
        later = mill.submit({other: True})
        assert [message.job_id for message in mill.sent()] == [later]
        mill.run([Message(later, 0, 1, "", 5, 0)])

    def test_a_retried_job_is_in_the_way_again_until_it_ends(self, mill: Mill) -> None:
        own, other = next(mill.names), next(mill.names)
        job_id = mill.submit({own: False, other: True}, fault="refuse")
        mill.run(mill.sent())
        retry_job(mill.database, mill.gristmill.notifier, job_id)
        later = mill.submit({other: False})
        sent = mill.sent()
        assert [message.job_id for message in sent] == [job_id]
        mill.run(sent)
        assert [message.job_id for message in mill.sent()] == [later]
        mill.run([Message(later, 0, 1, "", 5, 0)])

    @pytest.mark.parametrize(("exclusive", "refused"), [(True, True), (False, False)])
    def test_a_retry_is_refused_when_a_later_job_of_a_further_scope_has_begun(
        self, mill: Mill, exclusive: bool, refused: bool
    ) -> None:
        own, other = next(mill.names), next(mill.names)
        failed = mill.submit({own: False, other: False}, fault="refuse")
        mill.run(mill.sent())
        later = mill.submit({next(mill.names): False, other: exclusive})
        mill.run(mill.sent())
        assert mill.job(later)["state"] == "succeeded"
        if refused:
            with pytest.raises(NotRetryable) as caught:
                retry_job(mill.database, mill.gristmill.notifier, failed)
            assert caught.value.extra["blocked_by"] == str(later)
        else:
            retry_job(mill.database, mill.gristmill.notifier, failed)
            mill.run(mill.sent())

    def test_cleanup_keeps_what_a_retry_must_see_in_any_scope(self, mill: Mill) -> None:
        own, other = next(mill.names), next(mill.names)
        failed = mill.submit({own: False, other: False}, fault="refuse")
        mill.run(mill.sent())
        kept, pruned = mill.submit({next(mill.names): False, other: True}), mill.submit({other: False})
        while mill.waiting():
            for message in bundle(mill.sent(), 32, 1):
                mill.run(message)
        mill.query(
            "UPDATE gristmill.jobs SET finished_at = now() - interval '9 days' WHERE id = ANY(%(ids)s::uuid[])",
            ids=[str(kept), str(pruned)],
        )
        prune(mill.database, retention_days=7, idempotency_hours=24)
        left = {row["id"] for row in mill.query("SELECT id FROM gristmill.jobs")}
        assert {failed, kept} <= left
        assert pruned not in left


class TestSerial:
    def test_chunks_run_one_after_another_and_a_failure_does_not_stop_them(self, mill: Mill) -> None:
        job_id = mill.submit({next(mill.names): False}, chunks=3, serial=True)
        parallel = mill.submit({next(mill.names): False}, chunks=3)
        first = mill.sent()
        assert sorted(message.number for message in first if message.job_id == parallel) == [0, 1, 2]
        assert [message.number for message in first if message.job_id == job_id] == [0]
        for message in first:
            mill.run([message])
        for number in (1, 2):
            sent = mill.sent()
            assert [(message.job_id, message.number) for message in sent] == [(job_id, number)]
            assert not mill.sent()
            mill.run(sent)
        assert mill.job(job_id)["state"] == "succeeded"

    def test_a_chunk_that_goes_back_holds_the_later_ones_up_and_one_that_fails_does_not(self, mill: Mill) -> None:
        again = mill.submit({next(mill.names): False}, fault="again", chunks=2, serial=True)
        failing = mill.submit({next(mill.names): False}, fault="refuse", chunks=2, serial=True)
        sent = {message.job_id: message for message in mill.sent()}
        assert mill.run([sent[again]]) == "retried"
        assert mill.run([sent[failing]]) == "failed"
        mill.query("UPDATE gristmill.chunks SET run_at = now() + interval '1 h' WHERE job_id = %(id)s", id=str(again))
        assert [(message.job_id, message.number) for message in mill.sent()] == [(failing, 1)]
        mill.query("UPDATE gristmill.chunks SET run_at = now() WHERE job_id = %(id)s", id=str(again))
        assert [(message.job_id, message.number) for message in mill.sent()] == [(again, 0)]
        cancel_job(mill.database, mill.gristmill.notifier, again, "test")
        cancel_job(mill.database, mill.gristmill.notifier, failing, "test")
