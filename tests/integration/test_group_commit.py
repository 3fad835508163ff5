"""Small submissions that share a commit: each is answered by itself, whatever is in the way of another."""

import asyncio
import json
import os
import threading
import uuid
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.servers import add_database
from tests.support.system import eventually

from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.shared import Gristmill
from gristmill.bootstrap.worker import build_executor
from gristmill.core.config import Settings
from gristmill.core.errors import DatabaseUnavailable
from gristmill.jobs import group_commit
from gristmill.jobs.errors import IdempotencyKeyReused
from gristmill.jobs.group_commit import GroupCommit, Submission
from gristmill.jobs.repository.submit import Guard
from gristmill.jobs.schemas import job_body
from gristmill.jobs.submit import NewChunk, NewJob, WriteRequest, small_row, submit
from gristmill.records.errors import KeyExists, UnknownRecord
from gristmill.records.ingest.service import IngestOptions
from gristmill.records.spool import BodySpool
from gristmill.records.submit import Write

pytestmark = pytest.mark.promise(1)

CONTRACT = {"fields": [{"name": "k", "type": "text", "required": True}], "key": ["k"]}


def request(number: int = 0, **options: Any) -> WriteRequest:
    given: dict[str, Any] = {"priority": number % 10, "labels": {"n": str(number)}, **options}
    return WriteRequest(principal="test", request_id=f"r{number}", **given)


class Api:
    """What one API process has, and one dataset."""

    def __init__(self, gristmill: Gristmill) -> None:
        self.gristmill = gristmill
        self.services = ApiServices(gristmill)
        self.submitter = self.services.submitter
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self.services.datasets.create({**CONTRACT, "name": self.name}, request())
        executor = build_executor(gristmill)
        self.run = lambda: [executor.run(*row) for row in self.due()]
        self.run()
        # The first request of a name asks what it stands for, which is remembered.
        self.submitter.submit_blocking(self.write("first"), request())

    def due(self) -> list[tuple[uuid.UUID, int, int]]:
        rows = self.query(
            "UPDATE gristmill.chunks SET state = 'sent', dispatch = dispatch + 1, sent_at = now() "
            "WHERE state = 'waiting' AND seq IS NOT NULL AND job_id IN "
            "(SELECT id FROM gristmill.jobs WHERE dataset = %(dataset)s) RETURNING job_id, number, dispatch, seq",
            # A thousand jobs of nobody's type stay from another test.
            dataset=self.name,
        )
        return [(row["job_id"], row["number"], row["dispatch"]) for row in sorted(rows, key=lambda row: row["seq"])]

    def body(self, *keys: str) -> BodySpool:
        body = BodySpool(self.services.spool, 10**6, b"")
        body.write(json.dumps([{"k": key} for key in keys]).encode())
        return body

    def write(self, key: str, **options: Any) -> Write:
        ingest = IngestOptions(**options)
        return self.services.record_ingest.write(self.name, self.body(key), "application/json", ingest)

    async def count(self) -> None:
        """Make the limits' figures new: with old ones a submission goes to a thread, to count."""
        await asyncio.to_thread(self.gristmill.admission.check)
        self.gristmill.admission.give_back(0)

    async def submit(self, number: int, key: str | None = None, **options: Any) -> tuple[uuid.UUID, WriteRequest]:
        await self.count()
        made = request(number, **options)
        return await self.submitter.submit(self.write(key or f"k{number}"), made), made

    async def many(self, *writes: tuple[Write, WriteRequest]) -> list[Any]:
        """Submit all at the same time; return each answer or exception."""
        await self.count()
        calls = (self.submitter.submit(write, made) for write, made in writes)
        return await asyncio.gather(*calls, return_exceptions=True)

    def query(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        with self.gristmill.database.autocommit() as connection:
            return [dict(row) for row in connection.exec_driver_sql(sql, parameters).mappings()]

    def jobs(self) -> dict[uuid.UUID, dict[str, Any]]:
        rows = self.query("SELECT *, xmin::text AS commit FROM gristmill.jobs WHERE dataset = %(d)s", d=self.name)
        return {row["id"]: row for row in rows}

    def finish(self) -> None:
        """Run everything, so that the scope has no unfinished job."""
        while self.run():
            pass


@pytest.fixture(scope="module")
def gristmill() -> Iterator[Gristmill]:
    url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"])
    found = Gristmill(Settings(database_url=url), "group-commit", pool=8)
    # However long the machine stands still: with old figures a submission goes to a thread, and comes later.
    found.admission._max_age = 600
    yield found
    found.database.close()


@pytest.fixture
def api(gristmill: Gristmill) -> Api:
    return Api(gristmill)


def in_thread(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine in an event loop of another thread; return the future of its result."""
    with_loop = ThreadPoolExecutor(1)
    future = with_loop.submit(lambda: asyncio.run(work()))
    with_loop.shutdown(wait=False)
    return future


class TestGroupCommit:
    def test_requests_that_wait_at_the_same_time_share_a_commit_and_keep_what_is_theirs(self, api: Api) -> None:
        made = [request(number) for number in range(20)]
        answers = asyncio.run(api.many(*((api.write(f"k{n}"), one) for n, one in enumerate(made))))
        by_id = api.jobs()
        assert len({by_id[job_id]["commit"] for job_id in answers}) == 1
        for number, (job_id, one) in enumerate(zip(answers, made, strict=True)):
            row = by_id[job_id]
            assert (row["request_id"], row["priority"], row["labels"]) == (
                f"r{number}",
                number % 10,
                {"n": str(number)},
            )
            assert one.receipt.row is not None
            assert api.services.jobs.get(job_id) == api.services.jobs.get(one.receipt.row["id"])
        assert len({row["seq"] for row in by_id.values()}) == len(by_id)
        assert api.run().count("done") == 21
        keys = {row["k"] for row in api.query(f"SELECT k FROM data.{api.name}")}
        assert keys == {"first", *(f"k{number}" for number in range(20))}

    @pytest.mark.parametrize("options", [{}, {"idempotency_key": "x"}, {"run_at": datetime(2100, 1, 1, tzinfo=UTC)}])
    def test_what_the_answer_shows_is_what_a_look_at_the_job_shows(self, api: Api, options: dict[str, Any]) -> None:
        key = {name: value + api.name if name == "idempotency_key" else value for name, value in options.items()}
        job_id, made = asyncio.run(api.submit(3, **key))
        assert made.receipt.row is not None
        assert job_body(made.receipt.row) == api.services.jobs.get(job_id)

    def test_keys_labels_priorities_times_and_exclusive_jobs_share_it_too(self, api: Api) -> None:
        later = datetime.now(UTC) + timedelta(days=1)
        # A job is unfinished, so that the exclusive ones need no look at the records.
        made = [
            request(1, idempotency_key=f"one {api.name}", body_hash="1"),
            request(2, labels={"é": "\\'\"", "b": ""}, priority=9),
            request(3, run_at=later),
            request(4, idempotency_key=f"two {api.name}", body_hash="2", traceparent="00-1-2-3"),
            request(5),
            request(6),
        ]
        changes = api.services.record_changes
        writes = [api.write("a"), api.write("b"), api.write("c"), changes.patch(api.name, "a", b'{"k": "a"}')]
        writes[3] = changes.delete(api.name, "a")
        writes += [api.write("d", on_conflict="fail"), changes.delete_many(api.name, b'{"where": {"k": "zz"}}')]
        answers = asyncio.run(api.many(*zip(writes, made, strict=True)))
        by_id = api.jobs()
        rows = [by_id[job_id] for job_id in answers]
        assert len({row["commit"] for row in rows}) == 1
        assert [row["exclusive"] for row in rows] == [False, False, False, True, True, True]
        assert [row["state"] for row in rows] == ["queued", "queued", "scheduled", "queued", "queued", "queued"]
        assert rows[1]["labels"] == {"é": "\\'\"", "b": ""}
        assert (rows[1]["priority"], rows[2]["seq"], rows[2]["run_at"]) == (9, None, later)
        assert rows[3]["traceparent"] == "00-1-2-3"
        numbers = [row["seq"] for row in rows if row["seq"] is not None]
        assert numbers == sorted(numbers)
        stored = api.query(
            "SELECT key, job_id, body_hash FROM gristmill.idempotency_keys WHERE key LIKE %(k)s", k=f"%{api.name}"
        )
        assert {(row["key"], row["job_id"], row["body_hash"]) for row in stored} == {
            (f"one {api.name}", answers[0], "1"),
            (f"two {api.name}", answers[3], "2"),
        }
        chunks = api.query(
            "SELECT c.seq, j.seq AS job, c.run_at = j.run_at AS same FROM gristmill.chunks c "
            "JOIN gristmill.jobs j ON j.id = c.job_id WHERE j.dataset = %(d)s",
            d=api.name,
        )
        assert all(row["seq"] == row["job"] and row["same"] for row in chunks)

    def test_records_that_are_quarantined_go_alone_with_their_rejects(self, api: Api) -> None:
        body = BodySpool(api.services.spool, 10**6, b"")
        body.write(b'[{"k": "good"}, {"k": 1}]')
        write = api.services.record_ingest.write(api.name, body, "application/json", IngestOptions(quarantine=True))
        made = request(1)
        (job_id,) = asyncio.run(api.many((write, made)))
        assert api.services.jobs.get(job_id)["record_counts"]["rejected"] == 1
        assert len(api.query("SELECT FROM gristmill.rejects WHERE job_id = %(id)s", id=str(job_id))) == 1

    def test_a_submission_waits_for_an_exclusive_one_and_holds_up_nobody_else(self, api: Api) -> None:
        other = Api(api.gristmill)
        other.submitter = api.submitter
        other.services.submitter.submit_blocking(other.write("x"), request())
        api.submitter.load(other.name)
        scope = next(iter(api.jobs().values()))["scope"]
        before = len(api.jobs())
        with api.gristmill.database.transaction() as connection:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended(%(s)s, 0))", {"s": scope})
            writes = [(api.write(f"held {n}"), request(n, idempotency_key=f"{n} {api.name}")) for n in range(9)]
            held = in_thread(lambda: api.many(*writes, (other.write("free"), request(2))))
            eventually(lambda: len(other.jobs()) == 3, "the job of the other scope is there")
            assert len(api.jobs()) == before
            assert not held.done()
            # One batch waits for the scope; what comes meanwhile is submitted after it.
            waiting = "SELECT count(*) AS n FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            eventually(lambda: api.query(waiting)[0]["n"] == 1, "a batch waits for the lock")
            late = in_thread(lambda: api.many((api.services.record_changes.delete(api.name, "x"), request(1))))
        answers, (last,) = held.result(30), late.result(30)
        jobs = api.jobs()
        assert set(answers) <= jobs.keys() | other.jobs().keys()
        assert len({jobs[job_id]["commit"] for job_id in answers[:9]}) == 1
        assert max(jobs[job_id]["seq"] for job_id in answers[:9]) < jobs[last]["seq"]
        assert len(jobs) == before + 10

    def test_what_was_checked_against_an_old_contract_is_checked_again(self, api: Api) -> None:
        api.services.datasets.alter(api.name, {"add_fields": [{"name": "n", "type": "text"}]}, request())
        job_id, _ = asyncio.run(api.submit(1))
        assert api.jobs()[job_id]["args"]["contract_version"] == 2
        api.finish()
        (row,) = api.query(f"SELECT n FROM data.{api.name} WHERE k = 'k1'")
        assert row["n"] is None

    def test_without_postgres_everybody_hears_it_and_nobody_is_submitted_twice(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        committed = group_commit.insert_jobs

        def lost(*arguments: Any, **options: Any) -> Any:
            # The worst moment: after the commit, before the answer.
            committed(*arguments, **options)
            raise DatabaseUnavailable("the connection was lost")

        monkeypatch.setattr(group_commit, "insert_jobs", lost)

        async def many() -> list[Any]:
            return await asyncio.gather(*(api.submit(number) for number in range(5)), return_exceptions=True)

        assert [type(answer) for answer in asyncio.run(many())] == [DatabaseUnavailable] * 5
        assert sum(row["type"].startswith("records") for row in api.jobs().values()) == 6

    def test_one_member_that_postgres_refuses_does_not_take_the_others_along(self, api: Api) -> None:
        # No text in Postgres has a NUL, and no caller lets one through.
        bad = request(1, traceparent="\0")
        good = [request(number) for number in range(2, 5)]
        answers = asyncio.run(api.many(*((api.write(one.request_id), one) for one in [good[0], bad, *good[1:]])))
        assert isinstance(answers[1], Exception)
        assert {job_id for job_id in answers if isinstance(job_id, uuid.UUID)} <= api.jobs().keys()
        assert [type(one) for one in (answers[0], *answers[2:])] == [uuid.UUID] * 3

    def test_a_client_that_goes_away_leaves_its_job_and_its_neighbours_answered(self, api: Api) -> None:
        async def leave() -> Any:
            await api.count()
            calls = [asyncio.ensure_future(api.submitter.submit(api.write(f"k{n}"), request(n))) for n in range(3)]
            await asyncio.sleep(0)
            calls[1].cancel()
            return await asyncio.gather(*calls, return_exceptions=True)

        before = len(api.jobs())
        answers = asyncio.run(leave())
        assert [type(answer) for answer in answers] == [uuid.UUID, asyncio.CancelledError, uuid.UUID]
        assert len(api.jobs()) == before + 3

    def test_what_is_counted_and_made_no_job_is_given_back(self, api: Api) -> None:
        admission = api.gristmill.admission
        key = f"counted {api.name}"
        asyncio.run(api.submit(1, idempotency_key=key, body_hash="a"))
        admission._counted_at = float("inf")
        counted = admission._queued
        outcomes = asyncio.run(
            api.many(
                (api.write("k1"), request(1, idempotency_key=key, body_hash="a")),
                (api.write("k1"), request(1, idempotency_key=key, body_hash="b")),
                (api.write("new"), request(2)),
            )
        )
        admission_now = admission._queued
        admission._counted_at = 0.0
        assert [type(one) for one in outcomes] == [uuid.UUID, IdempotencyKeyReused, uuid.UUID]
        assert admission_now == counted + 1


class TestExistence:
    """404 and 409 at submit, when no unfinished job could still change the answer."""

    def test_the_first_of_an_idle_scope_is_checked_and_the_later_ones_follow_it(self, api: Api) -> None:
        api.finish()
        changes = api.services.record_changes
        writes = [
            changes.delete(api.name, "nobody"),
            changes.patch(api.name, "nobody", b"{}"),
            changes.delete(api.name, "first"),
            changes.delete(api.name, "first"),
        ]
        writes[1] = api.write("first", on_conflict="fail")
        answers = asyncio.run(api.many(*((write, request(n)) for n, write in enumerate(writes))))
        assert [type(answer) for answer in answers] == [UnknownRecord, KeyExists, uuid.UUID, uuid.UUID]
        rows = [api.jobs()[job_id] for job_id in answers[2:]]
        assert rows[0]["commit"] == rows[1]["commit"]
        assert rows[0]["seq"] < rows[1]["seq"]
        api.finish()
        # The second one was accepted behind the first: its job decides.
        assert [api.jobs()[job_id]["state"] for job_id in answers[2:]] == ["succeeded", "failed"]

    def test_a_refused_request_keeps_no_key(self, api: Api) -> None:
        api.finish()
        made = request(1, idempotency_key=f"refused {api.name}")
        (answer,) = asyncio.run(api.many((api.services.record_changes.delete(api.name, "nobody"), made)))
        assert isinstance(answer, UnknownRecord)
        assert api.query("SELECT FROM gristmill.idempotency_keys WHERE key = %(k)s", k=made.idempotency_key) == []

    def test_beside_an_unfinished_job_the_job_decides(self, api: Api) -> None:
        write = api.services.record_changes.delete(api.name, "nobody")
        (job_id,) = asyncio.run(api.many((write, request(1))))
        api.finish()
        assert api.jobs()[job_id]["state"] == "failed"


class TestKeys:
    def test_the_same_key_twice_in_one_batch_makes_one_job(self, api: Api) -> None:
        made = [request(1, idempotency_key=f"twice {api.name}", body_hash="a") for _ in range(4)]
        before = len(api.jobs())
        answers = asyncio.run(api.many(*((api.write("k"), one) for one in made), (api.write("other"), request(2))))
        assert len(set(answers[:4])) == 1
        assert len(set(answers)) == 2
        assert len(api.jobs()) == before + 2

    def test_the_same_key_with_another_body_in_one_batch_is_refused(self, api: Api) -> None:
        key = f"other {api.name}"
        made = [request(1, idempotency_key=key, body_hash=body) for body in "abab"]
        answers = asyncio.run(api.many(*((api.write("k"), one) for one in made)))
        assert [type(answer) for answer in answers] == [uuid.UUID, IdempotencyKeyReused] * 2
        assert answers[0] == answers[2]
        assert str(answers[0]) in str(answers[1])

    def test_the_key_of_somebody_else_is_another_one(self, api: Api) -> None:
        mine = request(1, idempotency_key=f"mine {api.name}")
        theirs = WriteRequest("other", "r", idempotency_key=mine.idempotency_key)
        answers = asyncio.run(api.many((api.write("k"), mine), (api.write("k"), theirs)))
        assert len(set(answers)) == 2

    def test_an_expired_key_is_taken_over(self, api: Api) -> None:
        key = f"old {api.name}"
        first, _ = asyncio.run(api.submit(1, idempotency_key=key, body_hash="a"))
        with api.gristmill.database.transaction() as connection:
            aged = "UPDATE gristmill.idempotency_keys SET created_at = now() - interval '25 hours' WHERE key = %(k)s"
            assert connection.exec_driver_sql(aged, {"k": key}).rowcount == 1
        second, _ = asyncio.run(api.submit(1, idempotency_key=key, body_hash="b"))
        assert second != first
        assert asyncio.run(api.submit(1, idempotency_key=key, body_hash="b"))[0] == second

    def test_a_replay_is_answered_whatever_became_of_the_dataset(self, api: Api) -> None:
        key = f"dropped {api.name}"
        first, _ = asyncio.run(api.submit(1, idempotency_key=key))
        api.services.datasets.drop(api.name, request())
        assert asyncio.run(api.submit(1, idempotency_key=key))[0] == first

    def test_a_key_that_an_open_transaction_holds_leaves_the_batch(self, api: Api) -> None:
        held = request(1, idempotency_key=f"held {api.name}", body_hash="a")
        job = NewJob("test.held", f"held {api.name}", False, {}, None, [NewChunk(0, 0, None)])
        with api.gristmill.database.transaction() as connection:
            first = submit(connection, job, held)
            again = request(1, idempotency_key=held.idempotency_key, body_hash="a")
            others = [request(n, idempotency_key=f"free {n} {api.name}") for n in range(3)]
            before = len(api.jobs())
            waiting = in_thread(
                lambda: api.many(*((api.write(f"k{n}"), one) for n, one in enumerate([again, *others])))
            )
            eventually(lambda: len(api.jobs()) == before + 3, "the others are submitted")
            assert not waiting.done()
        answers = waiting.result(30)
        assert answers[0] == first
        assert set(answers[1:]) <= api.jobs().keys()

    def test_batches_with_their_keys_in_opposite_order_never_deadlock(self, gristmill: Gristmill) -> None:
        """Two processes' worth of services take the same keys, each in an order of its own, again and again."""
        two = [GroupCommit(gristmill.database, Guard()) for _ in range(2)]
        scopes = [f"opposite {number}" for number in range(2)]
        for turn in range(20):
            names = [f"opposite {turn} {uuid.uuid4()} {number}" for number in range(30)]
            barrier = threading.Barrier(2)

            def take(
                group: GroupCommit,
                scope: str,
                keys: list[str],
                barrier: threading.Barrier = barrier,
            ) -> list[uuid.UUID | None]:
                async def all_at_once() -> list[uuid.UUID | None]:
                    barrier.wait(20)
                    job = NewJob("test.opposite", scope, False, {}, None, [NewChunk(0, 0, None)])
                    made = [request(1, idempotency_key=key, body_hash="a") for key in keys]
                    rows = [small_row(job, one, checked=False) for one in made]
                    calls = [group.submit(Submission(row, one)) for row, one in zip(rows, made, strict=True) if row]
                    return await asyncio.gather(*calls)

                return asyncio.run(all_at_once())

            with ThreadPoolExecutor(2) as pool:
                forth = pool.submit(take, two[0], scopes[0], names)
                back = pool.submit(take, two[1], scopes[1], names[::-1])
                pairs = list(zip(forth.result(30), back.result(30)[::-1], strict=True))
            # One of the two made each; the other was answered with it, or has to wait for it by itself.
            assert all(one is not None or other is not None for one, other in pairs)
            assert all(one == other for one, other in pairs if one is not None and other is not None)
            with gristmill.database.autocommit() as connection:
                found = connection.exec_driver_sql(
                    "SELECT key, job_id FROM gristmill.idempotency_keys WHERE key = ANY(%(keys)s)", {"keys": names}
                ).all()
            stored = {row[0]: row[1] for row in found}
            assert [stored[name] for name in names] == [one or other for one, other in pairs]


# A request: its key (few, so that they meet), its body, how it comes (in a loop's turn with others, or from a thread).
REQUESTS = st.lists(
    st.tuples(st.sampled_from([None, None, "a", "b", "c"]), st.sampled_from("xy"), st.booleans()),
    min_size=1,
    max_size=24,
)


class TestModel:
    @settings(max_examples=40, deadline=None)
    @given(requests=REQUESTS, seed=st.integers(0, 2**32))
    def test_concurrent_submissions_are_those_of_some_order(
        self, gristmill: Gristmill, requests: list[tuple[str | None, str, bool]], seed: int
    ) -> None:
        """Of each key one request made a job; those with its body got that job, the others were refused."""
        api = getattr(gristmill, "_model_api", None) or Api(gristmill)
        gristmill._model_api = api  # type: ignore[attr-defined]
        mark = uuid.uuid4().hex
        Random(seed).shuffle(requests)

        def make(key: str | None, body: str) -> tuple[Write, WriteRequest]:
            named = None if key is None else f"{mark} {key}"
            return api.write(body), request(0, labels={"m": mark}, idempotency_key=named, body_hash=body)

        def blocking(one: tuple[Write, WriteRequest]) -> Any:
            try:
                return api.submitter.submit_blocking(*one)
            except IdempotencyKeyReused as error:
                return error

        with ThreadPoolExecutor(4) as pool:
            threads = [(one, pool.submit(blocking, make(*one[:2]))) for one in requests if one[2]]
            looped = [one for one in requests if not one[2]]
            answers = asyncio.run(api.many(*(make(*one[:2]) for one in looped)))
            outcomes = [(one, future.result(30)) for one, future in threads]
        outcomes += list(zip(looped, answers, strict=True))
        made = {row["id"] for row in api.query("SELECT id FROM gristmill.jobs WHERE labels->>'m' = %(m)s", m=mark)}
        alone = [answer for (key, _, _), answer in outcomes if key is None]
        assert all(isinstance(answer, uuid.UUID) for answer in alone)
        assert len(set(alone)) == len(alone)
        jobs = set(alone)
        for key in {one[0] for one, _ in outcomes if one[0] is not None}:
            of_key = [(one[1], answer) for one, answer in outcomes if one[0] == key]
            found = {(body, answer) for body, answer in of_key if isinstance(answer, uuid.UUID)}
            assert len(found) == 1
            ((winner, job_id),) = found
            assert all(isinstance(answer, IdempotencyKeyReused) for body, answer in of_key if body != winner)
            assert all(answer == job_id for body, answer in of_key if body == winner)
            jobs.add(job_id)
        assert jobs == made


class TestWhatStaysOutOfTheEventLoop:
    def drafts(self, api: Api, write: Write, monkeypatch: pytest.MonkeyPatch) -> list[threading.Thread]:
        """Submit ``write`` and return the threads that validated it."""
        threads: list[threading.Thread] = []
        draft = write.draft

        def watched(dataset: Any) -> Any:
            threads.append(threading.current_thread())
            return draft(dataset)

        made = Write(write.name, write.size, watched, write.quick)
        api.submitter.load(write.name)
        (answer,) = asyncio.run(api.many((made, request())))
        assert isinstance(answer, uuid.UUID)
        return threads

    def test_a_small_body_is_validated_in_the_event_loop(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.drafts(api, api.write("a"), monkeypatch) == [threading.main_thread()]

    def test_records_of_many_fields_are_not_however_short_their_text(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wide = f"w{uuid.uuid4().hex[:8]}"
        fields = [{"name": f"f{number}", "type": "text"} for number in range(200)]
        api.services.datasets.create({"name": wide, "fields": fields}, request())
        api.run()
        body = BodySpool(api.services.spool, 10**6, b"")
        body.write(b"[" + b",".join([b"{}"] * 100) + b"]")
        write = api.services.record_ingest.write(wide, body, "application/json", IngestOptions())
        (thread,) = self.drafts(api, write, monkeypatch)
        assert thread is not threading.main_thread()

    def test_small_bodies_with_large_payloads_do_not_share(self, api: Api) -> None:
        name = f"v{uuid.uuid4().hex[:8]}"
        fields = [{"name": f"v{number}", "type": "vector", "dimensions": 2000} for number in range(2)]
        api.services.datasets.create({"name": name, "fields": fields}, request())
        api.run()
        body = BodySpool(api.services.spool, 10**6, b"")
        body.write(b"[" + b",".join([b"{}"] * 50) + b"]")
        write = api.services.record_ingest.write(name, body, "application/json", IngestOptions())
        api.submitter.submit_blocking(write, request())
        rows = api.query("SELECT c.shares FROM gristmill.chunks c JOIN gristmill.jobs j ON j.id = c.job_id"
                         " WHERE j.dataset = %(d)s AND j.type = 'records.ingest'", d=name)  # fmt: skip
        assert [row["shares"] for row in rows] == [False]

    def test_a_slow_count_of_the_queue_holds_no_small_submission_up(self, api: Api) -> None:
        admission = api.gristmill.admission
        admission._counted_at = 0.0
        holder = api.gristmill.database.connect_raw()
        holder.autocommit = False
        counting = threading.Thread(target=admission.check)
        try:
            with holder.cursor() as cursor:
                cursor.execute("LOCK TABLE gristmill.jobs IN ACCESS EXCLUSIVE MODE")
            counting.start()
            while not admission._counting.locked():
                assert counting.is_alive()
            answers: list[bool] = []
            asking = threading.Thread(target=lambda: answers.append(admission.admit(1)), daemon=True)
            asking.start()
            asking.join(10)
            assert answers == [False]
            assert counting.is_alive()
        finally:
            holder.close()
            counting.join(30)
        assert admission.admit(1)
