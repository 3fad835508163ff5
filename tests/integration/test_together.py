"""Small submissions that share a commit: all of them or, where something is in the way, each by itself."""

import asyncio
import json
import os
import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.servers import add_database

from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.shared import Gristmill
from gristmill.bootstrap.worker import build_executor
from gristmill.core.config import Settings
from gristmill.core.errors import DatabaseUnavailable
from gristmill.jobs.submit import WriteRequest
from gristmill.records.ingest.service import IngestOptions
from gristmill.records.spool import BodySpool

pytestmark = pytest.mark.promise(1)

CONTRACT = {"fields": [{"name": "k", "type": "text", "required": True}], "key": ["k"]}


def request(number: int = 0) -> WriteRequest:
    return WriteRequest(principal="test", request_id=f"r{number}", priority=number % 10, labels={"n": str(number)})


class Api:
    """What one API process has, and one dataset."""

    def __init__(self, gristmill: Gristmill) -> None:
        self.gristmill = gristmill
        self.services = ApiServices(gristmill)
        self.small = self.services.small_ingest
        self.name = f"t{uuid.uuid4().hex[:8]}"
        self.services.datasets.create({**CONTRACT, "name": self.name}, request())
        executor = build_executor(gristmill)
        self.run = lambda: [executor.run(*row) for row in self.due()]
        self.run()
        # The first request of a name goes the long way and is remembered.
        self.services.record_ingest.ingest(
            self.name, self.body("first"), "application/json", IngestOptions(), request()
        )

    def due(self) -> list[tuple[uuid.UUID, int, int]]:
        rows = self.query(
            "UPDATE gristmill.chunks SET state = 'sent', dispatch = dispatch + 1, sent_at = now() "
            "WHERE state = 'waiting' RETURNING job_id, number, dispatch"
        )
        return [(row["job_id"], row["number"], row["dispatch"]) for row in rows]

    def body(self, *keys: str) -> BodySpool:
        body = BodySpool(self.services.spool, 10**6, b"")
        body.write(json.dumps([{"k": key} for key in keys]).encode())
        return body

    async def submit(self, number: int, **options: Any) -> tuple[uuid.UUID | None, WriteRequest]:
        # Limits whose figures are old are looked at the long way.
        self.gristmill.admission.check()
        made = request(number)
        ingest = IngestOptions(**options)
        return await self.small.submit(self.name, self.body(f"k{number}"), "application/json", ingest, made), made

    def query(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        with self.gristmill.database.autocommit() as connection:
            return [dict(row) for row in connection.exec_driver_sql(sql, parameters).mappings()]


@pytest.fixture(scope="module")
def gristmill() -> Iterator[Gristmill]:
    url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"])
    found = Gristmill(Settings(database_url=url), "together")
    yield found
    found.database.close()


@pytest.fixture
def api(gristmill: Gristmill) -> Api:
    vars(gristmill).pop("small_ingest", None)
    return Api(gristmill)


class TestTogether:
    def test_requests_that_wait_at_the_same_time_share_a_commit_and_keep_what_is_theirs(self, api: Api) -> None:
        async def many() -> list[Any]:
            return await asyncio.gather(*(api.submit(number) for number in range(20)))

        answers = asyncio.run(many())
        rows = api.query("SELECT *, xmin::text AS commit FROM gristmill.jobs WHERE dataset = %(d)s", d=api.name)
        by_id = {row["id"]: row for row in rows}
        assert len({by_id[job_id]["commit"] for job_id, _ in answers}) == 1
        for number, (job_id, made) in enumerate(answers):
            row = by_id[job_id]
            assert (row["request_id"], row["priority"], row["labels"]) == (
                f"r{number}",
                number % 10,
                {"n": str(number)},
            )
            assert made.receipt.row is not None
            assert api.services.jobs.get(job_id) == api.services.jobs.get(made.receipt.row["id"])
        assert len({row["seq"] for row in rows}) == len(rows)
        assert api.run().count("done") == 21
        keys = {row["k"] for row in api.query(f"SELECT k FROM data.{api.name}")}
        assert keys == {"first", *(f"k{number}" for number in range(20))}

    def test_what_the_answer_shows_is_what_a_look_at_the_job_shows(self, api: Api) -> None:
        from gristmill.jobs.schemas import job_body  # noqa: PLC0415 - only this test compares bodies

        job_id, made = asyncio.run(api.submit(3))
        assert job_id is not None
        assert made.receipt.row is not None
        assert job_body(made.receipt.row) == api.services.jobs.get(job_id)

    @pytest.mark.parametrize("options", [{"on_conflict": "fail"}, {"quarantine": True}])
    def test_what_is_not_plain_goes_the_long_way(self, api: Api, options: dict[str, Any]) -> None:
        assert asyncio.run(api.submit(1, **options))[0] is None

    def test_nothing_is_submitted_while_an_exclusive_job_is_being_submitted(self, api: Api) -> None:
        scope = api.query("SELECT scope FROM gristmill.jobs WHERE dataset = %(d)s LIMIT 1", d=api.name)[0]["scope"]
        before = api.query("SELECT count(*) FROM gristmill.jobs")
        with api.gristmill.database.transaction() as connection:
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtextextended(%(s)s, 0))", {"s": scope})
            assert asyncio.run(api.submit(1))[0] is None
        assert api.query("SELECT count(*) FROM gristmill.jobs") == before
        assert asyncio.run(api.submit(1))[0] is not None

    def test_nothing_is_submitted_under_a_contract_that_is_no_longer_the_present_one(self, api: Api) -> None:
        api.services.datasets.alter(api.name, {"add_fields": [{"name": "n", "type": "text"}]}, request())
        before = api.query("SELECT count(*) FROM gristmill.jobs")
        assert asyncio.run(api.submit(1))[0] is None
        assert api.query("SELECT count(*) FROM gristmill.jobs") == before
        api.run()

    def test_without_postgres_everybody_hears_it_and_nobody_is_submitted_twice(
        self, api: Api, monkeypatch: Any
    ) -> None:
        from gristmill.jobs import group_commit  # noqa: PLC0415 - only this test puts something in its way

        committed = group_commit.insert_together

        def lost(*arguments: Any) -> Any:
            # The worst moment: after the commit, before the answer.
            committed(*arguments)
            raise DatabaseUnavailable("the connection was lost")

        monkeypatch.setattr(group_commit, "insert_together", lost)

        async def many() -> list[Any]:
            return await asyncio.gather(*(api.submit(number) for number in range(5)), return_exceptions=True)

        assert [type(answer) for answer in asyncio.run(many())] == [DatabaseUnavailable] * 5
        count = api.query(
            "SELECT count(*) AS n FROM gristmill.jobs WHERE dataset = %(d)s AND type LIKE 'records%%'", d=api.name
        )
        assert count[0]["n"] == 6


class TestWhatStaysOutOfTheEventLoop:
    def test_records_of_many_fields_go_the_long_way_however_short_their_text(self, api: Api) -> None:
        wide = f"w{uuid.uuid4().hex[:8]}"
        fields = [{"name": f"f{number}", "type": "text"} for number in range(200)]
        api.services.datasets.create({"name": wide, "fields": fields}, request())
        api.run()
        body = BodySpool(api.services.spool, 10**6, b"")
        body.write(b"[" + b",".join([b"{}"] * 100) + b"]")
        api.services.record_ingest.ingest(wide, body, "application/json", IngestOptions(), request())
        api.gristmill.admission.check()
        answer = asyncio.run(api.small.submit(wide, body, "application/json", IngestOptions(), request()))
        assert answer is None

    def test_small_bodies_with_large_payloads_do_not_share(self, api: Api) -> None:
        name = f"v{uuid.uuid4().hex[:8]}"
        fields = [{"name": f"v{number}", "type": "vector", "dimensions": 2000} for number in range(2)]
        api.services.datasets.create({"name": name, "fields": fields}, request())
        api.run()
        body = BodySpool(api.services.spool, 10**6, b"")
        body.write(b"[" + b",".join([b"{}"] * 50) + b"]")
        api.services.record_ingest.ingest(name, body, "application/json", IngestOptions(), request())
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
