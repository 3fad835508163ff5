"""Submission order: whatever order the jobs ran in, the table is what a dict would be after one job at a time.

The jobs go through the real submit, dispatch and worker code. Two workers run at once, get their messages shuffled and
some of them twice; small jobs share messages and transactions; jobs are made to fail and are retried later.
"""

import collections
import itertools
import json
import logging
import os
import uuid
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
import structlog
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.support.ends import counted
from tests.support.servers import add_database
from tests.support.system import eventually

from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.registry import build_registry
from gristmill.bootstrap.shared import Gristmill
from gristmill.bootstrap.worker import build_executor
from gristmill.core.config import Settings
from gristmill.core.errors import Conflict, Unavailable
from gristmill.datasets.errors import ChangeUnderWay
from gristmill.dispatcher.loop import bundle
from gristmill.jobs.errors import NotRetryable
from gristmill.jobs.execute import Executor
from gristmill.jobs.handlers import ChunkTask
from gristmill.jobs.maintenance.schedules import promote_scheduled
from gristmill.jobs.repository.dispatch import Message, mark_sent
from gristmill.jobs.retry import retry_job
from gristmill.jobs.submit import NewChunk, NewJob, WriteRequest, submit
from gristmill.records.apply import upsert
from gristmill.records.apply.tasks import INGEST, MERGE
from gristmill.records.errors import KeyExists, UnknownRecord
from gristmill.records.ingest.service import IngestOptions
from gristmill.records.spool import BodySpool
from gristmill.records.submit import Write

pytestmark = pytest.mark.promise(3)

CHUNK = 3
REQUEST = WriteRequest(principal="test", request_id="order")
CONTRACT = {
    "fields": [
        {"name": "k", "type": "text", "required": True, "max_length": 8},
        {"name": "v", "type": "integer"},
        {"name": "w", "type": "text"},
    ],
    "key": ["k"],
}
Record = dict[str, Any]
Table = dict[str, Record]
Chunk = tuple[str, int]

# Few keys, so that most jobs meet the records of others.
KEYS = st.sampled_from("abcd")
CHANGE = st.one_of(
    st.builds(lambda v: {"v": v}, st.integers(0, 9)),
    st.builds(lambda w: {"w": w}, st.sampled_from([None, "x", "y"])),
)
RECORDS = st.lists(
    st.builds(lambda k, v: {"k": k, "v": v, "w": None}, KEYS, st.integers(0, 9)), min_size=1, max_size=3 * CHUNK
)
# Records that give some of their fields: to be laid over those that are there.
PARTIAL = st.lists(
    st.builds(lambda k, change: {"k": k, **change}, KEYS, CHANGE | st.just({})), min_size=1, max_size=3 * CHUNK
)
# Under on_conflict=fail a request with one key twice makes no job.
ONCE = st.lists(RECORDS.map(lambda rows: rows[0]), min_size=1, max_size=CHUNK + 1, unique_by=lambda record: record["k"])
# How a job's chunks fail at first: not at all, all of them, or one; for good or in a way that is tried again.
FAULT = st.sampled_from([None] * 6 + ["all", "first", "again"])
OPERATIONS = st.one_of(
    st.tuples(st.just("upsert"), RECORDS, FAULT),
    st.tuples(st.just("upsert"), RECORDS, FAULT),
    st.tuples(st.just("fail"), ONCE, FAULT),
    st.tuples(st.just("skip"), RECORDS, FAULT),
    st.tuples(st.just("merge"), PARTIAL, FAULT),
    st.tuples(st.just("merge"), PARTIAL, FAULT),
    st.tuples(st.just("patch"), KEYS, CHANGE),
    st.tuples(st.just("patch_where"), st.integers(0, 9), CHANGE),
    st.tuples(st.just("delete_keys"), st.lists(KEYS, max_size=3)),
    st.tuples(st.just("delete"), KEYS),
    st.tuples(st.just("delete_where"), st.integers(0, 9)),
    st.tuples(st.just("truncate")),
    st.tuples(st.just("rename")),
    st.tuples(st.just("copy")),
    st.tuples(st.just("work"), st.integers(1, 6)),
    st.tuples(st.just("retry"), st.integers(0, 5)),
)


INGESTS = ("upsert", "fail", "skip", "merge")
# Exclusive, and yet the table is the same afterwards.
WITHOUT_EFFECT = ("rename", "copy")


@dataclass
class Submitted:
    """A job as the test knows it.

    failing: the chunks that were made to fail and not retried with success. copy: the name of the copy that it makes.
    """

    id: uuid.UUID
    operation: tuple[Any, ...]
    failing: set[int] = field(default_factory=set)
    copy: str = ""

    @property
    def exclusive(self) -> bool:
        return self.operation[0] != "upsert"


class Faults:
    """Stands between the ingest handler and its work: makes chunks fail that the test has named."""

    def __init__(self) -> None:
        self.for_good: set[Chunk] = set()
        self.once: set[Chunk] = set()

    def check(self, task: ChunkTask) -> None:
        chunk = (str(task.job_id), task.number)
        if chunk in self.for_good:
            raise Conflict("failed on purpose")
        if chunk in self.once:
            self.once.discard(chunk)
            raise Unavailable("not now, on purpose")


class Mill:
    """Submitting and two workers, in one process."""

    def __init__(self, url: str) -> None:
        options = Settings(
            database_url=url, jobs_chunk_records=CHUNK, jobs_retry_base=0.001, jobs_retry_max=0.001, log_level="error"
        )
        self.gristmill = Gristmill(options, "order", pool=4)
        self.services = ApiServices(self.gristmill)
        self.database = self.gristmill.database
        self.faults = Faults()
        self.names = (f"t{number}" for number in itertools.count())
        self._workers = [Gristmill(options, f"order-worker{number}") for number in range(2)]
        self._idle: collections.deque[Executor] = collections.deque()
        for worker in self._workers:
            registry = build_registry(worker)
            for type_ in (INGEST, MERGE):
                handler: Any = registry.get(type_)
                prepare = handler.prepare
                handler.prepare = lambda task, prepare=prepare: (self.faults.check(task), prepare(task))[1]
            self._idle.append(build_executor(worker, registry))
        self._pool = ThreadPoolExecutor(len(self._workers))

    def close(self) -> None:
        self._pool.shutdown()
        for one in (self.gristmill, *self._workers):
            one.database.close()

    def create(self) -> str:
        name = next(self.names)
        self.services.datasets.create({**CONTRACT, "name": name}, REQUEST)
        self.work(Random(0))
        return name

    def ingest(self, name: str, records: list[Record], kind: str) -> uuid.UUID:
        body = BodySpool(self.services.spool, 10**6, b"")
        body.write(b"\n".join(json.dumps(record).encode() for record in records))
        options = IngestOptions(merge=kind == "merge")
        if kind in ("fail", "skip"):
            options = IngestOptions(on_conflict="fail" if kind == "fail" else "skip")
        return self.write(self.services.record_ingest.write(name, body, "application/x-ndjson", options))

    def write(self, write: Write) -> uuid.UUID:
        return self.services.submitter.submit_blocking(write, REQUEST)

    def work(self, random: Random, limit: int = 10_000) -> None:
        """Run due chunks on both workers until there are none, or until ``limit`` were begun."""
        running: set[Future[str]] = set()
        while True:
            messages: list[Message] = []
            most = 1
            if limit > 0:
                most = random.choice([1, 3, 32])
                with self.database.transaction() as connection:
                    count = min(limit, random.randint(1, 8))
                    messages = mark_sent(connection, "default", count, most) or mark_sent(connection, "long", 1, 1)
            limit -= len(messages)
            bundles = bundle(messages, most, 1)
            random.shuffle(bundles)
            for chunks in bundles:
                # A message that comes twice is one that changes nothing.
                for _ in range(random.choice([1, 1, 2])):
                    running.add(self._pool.submit(self._run, chunks))
            if not messages and not running and (limit <= 0 or not self._delayed()):
                return
            done, running = wait(running, 1, FIRST_COMPLETED) if running else (set(), running)
            for future in done:
                future.result()

    def _run(self, chunks: list[Message]) -> str:
        executor = self._idle.popleft()
        try:
            return counted(executor.run_all([(chunk.job_id, chunk.number, chunk.dispatch) for chunk in chunks]))
        finally:
            self._idle.append(executor)

    def _delayed(self) -> bool:
        """Say whether a chunk waits for its next attempt."""
        with self.database.autocommit() as connection:
            query = "SELECT EXISTS (SELECT FROM gristmill.chunks WHERE state = 'waiting' AND attempts > 0)"
            return bool(connection.exec_driver_sql(query).scalar())

    def table(self, name: str) -> Table:
        with self.database.autocommit() as connection:
            rows = connection.exec_driver_sql(f"SELECT k, v, w FROM data.{name}").mappings()
            return {row["k"]: dict(row) for row in rows}

    def name_of(self, dataset_id: str) -> str:
        with self.database.autocommit() as connection:
            query = "SELECT name FROM gristmill.datasets WHERE id = %(id)s"
            return str(connection.exec_driver_sql(query, {"id": dataset_id}).scalar_one())

    def states(self, job_id: uuid.UUID) -> list[str]:
        """The states of the job's chunks, by number."""
        with self.database.autocommit() as connection:
            query = "SELECT state FROM gristmill.chunks WHERE job_id = %(id)s ORDER BY number"
            return [row[0] for row in connection.exec_driver_sql(query, {"id": str(job_id)})]


@pytest.fixture(scope="module")
def mill() -> Iterator[Mill]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    found = Mill(add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"]))
    yield found
    found.close()
    structlog.reset_defaults()


def chunks_of(records: list[Record]) -> list[list[Record]]:
    return [records[start : start + CHUNK] for start in range(0, len(records), CHUNK)]


def apply(table: Table, job: Submitted) -> list[str]:
    """Do to ``table`` what the job does; return the states that its chunks must have."""
    kind, *rest = job.operation
    if kind in INGESTS:
        before = set(table)
        states = []
        for number, records in enumerate(chunks_of(rest[0])):
            if kind == "merge" and "failed" in states:
                states.append("failed")
                continue
            if number in job.failing or (kind == "fail" and before & {record["k"] for record in records}):
                states.append("failed")
                continue
            states.append("done")
            for record in records:
                there = table.get(record["k"])
                if kind == "merge":
                    table[record["k"]] = {"v": None, "w": None, **(there or {}), **record}
                elif kind != "skip" or there is None:
                    table[record["k"]] = record
        return states
    if kind == "patch_where":
        for key, record in table.items():
            if record["v"] is not None and record["v"] < rest[0]:
                table[key] = {**record, **rest[1]}
        return ["done"]
    if kind == "delete_keys":
        for key in rest[0]:
            table.pop(key, None)
        return ["done"]
    if kind == "truncate":
        table.clear()
        return ["done"]
    if kind in WITHOUT_EFFECT:
        return ["done"]
    if kind == "delete_where":
        for key in [key for key, record in table.items() if record["v"] is not None and record["v"] < rest[0]]:
            del table[key]
        return ["done"]
    if rest[0] not in table:
        return ["failed"]
    if kind == "patch":
        table[rest[0]] = {**table[rest[0]], **rest[1]}
    else:
        del table[rest[0]]
    return ["done"]


class History:
    """One example: what was submitted to one dataset, in order."""

    def __init__(self, mill: Mill, random: Random) -> None:
        self.mill = mill
        self.random = random
        self.made = ""
        self.dataset_id = mill.services.datasets.get(mill.create())["id"]
        self.jobs: list[Submitted] = []

    @property
    def name(self) -> str:
        return self.mill.name_of(self.dataset_id)

    def do(self, operation: tuple[Any, ...]) -> None:
        kind, *rest = operation
        if kind == "work":
            self.mill.work(self.random, rest[0])
        elif kind == "retry":
            failed = [job for job in self.jobs if self.mill.services.jobs.get(job.id)["state"] == "failed"]
            if failed:
                self.retry(failed[rest[0] % len(failed)])
        else:
            try:
                job_id = self.submit(kind, rest)
            except (KeyExists, UnknownRecord) as refused:
                # Refused at submit: only when nothing was unfinished, and then the table decides, as it would later.
                note(f"{operation} refused: {refused.code}")
                assert "failed" in apply(self.expected(), Submitted(uuid.uuid4(), operation))
                return
            except ChangeUnderWay:
                assert kind == "rename"
                return
            self.jobs.append(Submitted(job_id, operation, copy=self.made if kind == "copy" else ""))
            self.plan_faults(self.jobs[-1])

    def submit(self, kind: str, rest: list[Any]) -> uuid.UUID:
        changes, operations = self.mill.services.record_changes, self.mill.services.dataset_operations
        if kind == "truncate":
            return operations.truncate(self.name, REQUEST)
        if kind in ("rename", "copy"):
            self.made = next(self.mill.names)
            return getattr(operations, kind)(self.name, {"name": self.made}, REQUEST)  # type: ignore[no-any-return]
        if kind in INGESTS:
            return self.mill.ingest(self.name, rest[0], kind)
        if kind == "delete_keys":
            return self.mill.write(changes.delete_many(self.name, json.dumps({"keys": rest[0]}).encode()))
        if kind == "patch_where":
            body = {"where": {"v": {"lt": rest[0]}}, "changes": rest[1]}
            return self.mill.write(changes.patch_many(self.name, json.dumps(body).encode()))
        if kind == "patch":
            return self.mill.write(changes.patch(self.name, rest[0], json.dumps(rest[1]).encode()))
        if kind == "delete":
            return self.mill.write(changes.delete(self.name, rest[0]))
        return self.mill.write(changes.delete_many(self.name, json.dumps({"where": {"v": {"lt": rest[0]}}}).encode()))

    def plan_faults(self, job: Submitted) -> None:
        kind, *rest = job.operation
        if kind not in INGESTS or rest[1] is None:
            return
        numbers = range(len(chunks_of(rest[0])))
        named = {(str(job.id), number) for number in (numbers if rest[1] in ("all", "again") else [0])}
        if rest[1] == "again":
            self.mill.faults.once |= named
        else:
            self.mill.faults.for_good |= named
            job.failing = {number for _, number in named}

    def retry(self, job: Submitted) -> None:
        """Retry a failed job; it must be refused exactly when a later job that depends on its outcome has begun."""
        later = self.jobs[self.jobs.index(job) + 1 :]
        begun = [other for other in later if job.exclusive or other.exclusive]
        begun = [other for other in begun if set(self.mill.states(other.id)) - {"waiting", "cancelled"}]
        try:
            retry_job(self.mill.database, self.mill.gristmill.notifier, job.id)
        except NotRetryable:
            assert begun
            return
        assert not begun
        self.mill.faults.for_good -= {(str(job.id), number) for number in job.failing}
        job.failing = set()

    def expected(self) -> Table:
        table: Table = {}
        for job in self.jobs:
            apply(table, job)
        return table

    def check(self) -> None:
        table: Table = {}
        for job in self.jobs:
            expected = apply(table, job)
            assert self.mill.states(job.id) == expected, f"the chunks of {job.operation}"
            if job.copy:
                assert self.mill.table(job.copy) == table, "a copy is what was submitted before it"
        assert self.mill.table(self.name) == table


class TestOrder:
    @settings(max_examples=int(os.environ.get("GRISTMILL_TEST_ORDER_EXAMPLES", "60")), print_blob=False)
    @given(
        operations=st.lists(OPERATIONS, min_size=3, max_size=14),
        seed=st.integers(0, 2**32),
        direct=st.booleans(),
    )
    def test_the_table_is_that_of_one_job_at_a_time(
        self, mill: Mill, operations: list[tuple[Any, ...]], seed: int, direct: bool
    ) -> None:
        # Both ways of writing, INSERT and COPY with a merge, have comparisons of their own.
        rows, upsert.DIRECT_ROWS = upsert.DIRECT_ROWS, upsert.DIRECT_ROWS if direct else 0
        try:
            history = History(mill, Random(seed))
            for operation in operations:
                history.do(operation)
            mill.work(history.random)
            for job in [job for job in history.jobs if job.failing]:
                history.retry(job)
            mill.work(history.random)
            history.check()
        finally:
            upsert.DIRECT_ROWS = rows


class TestNumbers:
    """No smaller number can appear once a later exclusive job may have begun."""

    @pytest.mark.parametrize(
        ("first", "second", "waits"), [(False, True, True), (True, False, True), (False, False, False)]
    )
    def test_a_number_is_drawn_under_the_lock_of_its_scope(
        self, mill: Mill, first: bool, second: bool, waits: bool
    ) -> None:
        scope = f"numbers {first} {second}"
        drawn: list[str] = []

        def submit_one(exclusive: bool) -> None:
            job = NewJob("order.none", scope, exclusive, {}, None, [NewChunk(0, 0, None)], queue="long")
            with mill.database.transaction() as connection:
                submit(connection, job, REQUEST)
            drawn.append("second")

        with ThreadPoolExecutor(1) as pool:
            with mill.database.transaction() as connection:
                job = NewJob("order.none", scope, first, {}, None, [NewChunk(0, 0, None)], queue="long")
                submit(connection, job, REQUEST)
                future = pool.submit(submit_one, second)
                if waits:
                    eventually(lambda: self.is_waiting(mill), "the second submission waits for the first one's commit")
                    assert not drawn
                else:
                    future.result(timeout=60)
                drawn.append("first")
            future.result(timeout=60)
        with mill.database.autocommit() as connection:
            query = "SELECT exclusive, seq FROM gristmill.jobs WHERE scope = %(scope)s ORDER BY seq"
            numbers = connection.exec_driver_sql(query, {"scope": scope}).all()
        assert [row[0] for row in numbers] == [first, second]
        assert drawn == (["first", "second"] if waits else ["second", "first"])

    @pytest.mark.parametrize("shared", [0, 1])
    def test_the_number_of_a_job_over_two_scopes_is_drawn_under_both_locks(self, mill: Mill, shared: int) -> None:
        """Two jobs meet in one scope of two, in which they are exclusive, in either place of their lists."""
        names = [f"both {shared} {number}" for number in range(3)]
        pairs = [(names[0], names[1]), (names[0], names[2]) if shared == 0 else (names[2], names[1])]
        drawn: list[str] = []

        def submit_one(connection: Any, pair: tuple[str, str]) -> None:
            further = {pair[1]: shared == 1}
            job = NewJob(
                "order.none", pair[0], shared == 0, {}, None, [NewChunk(0, 0, None)], "long", further_scopes=further
            )
            submit(connection, job, REQUEST)

        def second() -> None:
            with mill.database.transaction() as connection:
                submit_one(connection, pairs[1])
            drawn.append("second")

        with ThreadPoolExecutor(1) as pool:
            with mill.database.transaction() as connection:
                submit_one(connection, pairs[0])
                future = pool.submit(second)
                eventually(lambda: self.is_waiting(mill), "the second submission waits for the first one's commit")
                drawn.append("first")
            future.result(timeout=10)
        assert drawn == ["first", "second"]
        with mill.database.autocommit() as connection:
            query = "SELECT scope, exclusive FROM gristmill.scopes WHERE scope = ANY(%(names)s) ORDER BY seq, exclusive"
            rows = connection.exec_driver_sql(query, {"names": names}).all()
        assert {tuple(row) for row in rows} == {(name, (name == pair[shared])) for pair in pairs for name in pair}

    def test_jobs_that_name_the_same_scopes_in_other_orders_never_deadlock(self, mill: Mill) -> None:
        names = [f"circle {number}" for number in range(3)]

        def submit_some(start: int) -> int:
            order = names[start:] + names[:start]
            for _ in range(25):
                job = NewJob(
                    "order.none", order[0], True, {}, None, [NewChunk(0, 0, None)], "long",
                    further_scopes=dict.fromkeys(order[1:], True),
                )  # fmt: skip
                with mill.database.transaction() as connection:
                    submit(connection, job, REQUEST)
            return 25

        with ThreadPoolExecutor(3) as pool:
            assert sum(pool.map(submit_some, range(3))) == 75
        # The order of the numbers is that of the commits, in each of the scopes.
        with mill.database.autocommit() as connection:
            query = "SELECT count(DISTINCT seq), count(*) FROM gristmill.scopes WHERE scope = ANY(%(names)s)"
            assert connection.exec_driver_sql(query, {"names": names}).one() == (75, 225)

    def test_a_scheduled_job_over_two_scopes_takes_its_number_under_both_locks(self, mill: Mill) -> None:
        names = ["later 0", "later 1"]
        job = NewJob(
            "order.none", names[0], False, {}, None, [NewChunk(0, 0, None)], "long",
            run_at=datetime.now(UTC) + timedelta(seconds=0.3), further_scopes={names[1]: True},
        )  # fmt: skip
        with mill.database.transaction() as connection:
            job_id = submit(connection, job, REQUEST)
        assert mill.services.jobs.get(job_id)["state"] == "scheduled"
        with ThreadPoolExecutor(1) as pool:
            with mill.database.transaction() as connection:
                other = NewJob("order.none", names[1], False, {}, None, [NewChunk(0, 0, None)], "long")
                first = submit(connection, other, REQUEST)
                eventually(lambda: self.is_due(mill, job_id), "the job is due")
                future = pool.submit(promote_scheduled, mill.database)
                eventually(lambda: self.is_waiting(mill), "the number waits for the lock of the second scope")
            assert future.result(timeout=10) >= 1
        with mill.database.autocommit() as connection:
            query = "SELECT job_id FROM gristmill.scopes WHERE scope = %(name)s ORDER BY seq"
            assert [row[0] for row in connection.exec_driver_sql(query, {"name": names[1]})] == [first, job_id]

    def test_a_serial_job_is_stored_as_one(self, mill: Mill) -> None:
        chunks = [NewChunk(0, 1, b"a"), NewChunk(1, 1, b"b")]
        job = NewJob("order.none", "serial", True, {}, None, chunks, "long", serial=True)
        with mill.database.transaction() as connection:
            job_id = submit(connection, job, REQUEST)
            found = connection.exec_driver_sql("SELECT serial FROM gristmill.jobs WHERE id = %s", (str(job_id),))
            assert found.scalar_one() is True

    def is_due(self, mill: Mill, job_id: uuid.UUID) -> bool:
        with mill.database.autocommit() as connection:
            query = "SELECT run_at <= clock_timestamp() FROM gristmill.jobs WHERE id = %(id)s"
            return bool(connection.exec_driver_sql(query, {"id": str(job_id)}).scalar())

    def is_waiting(self, mill: Mill) -> bool:
        with mill.database.autocommit() as connection:
            query = (
                "SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                " WHERE d.datname = current_database() AND locktype = 'advisory' AND NOT granted)"
            )
            return bool(connection.exec_driver_sql(query).scalar())
