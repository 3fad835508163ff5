"""Datasets through their real jobs: visible at once, created, changed, dropped, and what happens when one fails."""

import uuid
from typing import Any

import pytest
import sqlalchemy as sa

from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.registry import build_registry
from gristmill.bootstrap.shared import Gristmill
from gristmill.bootstrap.worker import build_executor
from gristmill.core.config import Settings
from gristmill.core.database import Database
from gristmill.core.errors import Invalid, Malformed
from gristmill.datasets import ddl
from gristmill.datasets.errors import ChangeFailed, DatasetExists, DatasetFailed, TableBusy, UnknownDataset
from gristmill.datasets.extensions import DatasetExtension
from gristmill.datasets.tasks import CreateHandler, DropHandler
from gristmill.jobs.errors import IdempotencyKeyReused, JobDropped
from gristmill.jobs.repository import dispatch
from gristmill.jobs.service import JobFilter
from gristmill.jobs.submit import WriteRequest

BODY: dict[str, Any] = {
    "name": "readings",
    "fields": [{"name": "id", "type": "integer", "required": True}, {"name": "note", "type": "text"}],
    "key": ["id"],
    "embedding": {"from": ["note"], "embedder": "hashing"},
}
ADD = {"add_fields": [{"name": "unit", "type": "text"}]}
ME = WriteRequest(principal="test", request_id="r")


class Jobs:
    """One installation in this process; jobs run when told to, in the order in which a dispatcher would send them."""

    def __init__(self, url: str) -> None:
        self.gristmill = Gristmill(Settings(database_url=url, jobs_retry_base=0.001), "test")
        self.services = ApiServices(self.gristmill)
        self.service = self.services.datasets
        self.reader = self.gristmill.dataset_lookup
        self.registry = build_registry(self.gristmill)
        self.executor = build_executor(self.gristmill, self.registry)

    def run(self, most: int = 1000) -> None:
        """Run due chunks until none is left, or ``most`` of them."""
        for _ in range(most):
            with self.gristmill.database.transaction() as connection:
                due = dispatch.mark_sent(connection, "default", 1)
            if not due:
                return
            self.executor.run(due[0].job_id, due[0].number, due[0].dispatch)

    def state(self, job_id: uuid.UUID) -> tuple[str, str | None]:
        job = self.services.jobs.get(job_id)
        return job["state"], (job["error"] or {}).get("detail")

    def execute(self, sql: str, **values: Any) -> Any:
        with self.gristmill.database.transaction() as connection:
            return connection.execute(sa.text(sql), values)

    def tables(self) -> list[str]:
        with self.gristmill.database.autocommit() as connection:
            sql = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'data'::regnamespace"
            return sorted(set(connection.execute(sa.text(sql)).scalars()) - {"effects", "own_effects"})


@pytest.fixture
def jobs(database: Database, database_url: str) -> Jobs:
    return Jobs(database_url)


class TestCreate:
    def test_it_is_visible_at_once_and_ready_when_its_job_succeeded(self, jobs: Jobs) -> None:
        job_id = jobs.service.create(BODY, ME)
        body = jobs.service.get("readings")
        assert (body["state"], body["version"], body["rows"], body["change_pending"]) == ("creating", 1, 0, True)
        assert body["contract"]["embedding"]["dimensions"] == 256
        jobs.run()
        assert jobs.state(job_id) == ("succeeded", None)
        body = jobs.service.get("readings")
        assert (body["state"], body["change_pending"], body["error"]) == ("ready", False, None)
        assert body["sizes"]["index_bytes"] > 0
        assert body["embedder_version"]
        assert jobs.tables() == ["readings"]

    def test_a_taken_name_is_refused_and_nothing_is_queued(self, jobs: Jobs) -> None:
        jobs.service.create(BODY, ME)
        with pytest.raises(DatasetExists):
            jobs.service.create(BODY, ME)
        assert len(jobs.services.jobs.list(JobFilter(), 10, None)["jobs"]) == 1

    def test_a_bad_contract_stores_nothing(self, jobs: Jobs) -> None:
        with pytest.raises(Invalid):
            jobs.service.create({**BODY, "key": ["note"]}, ME)
        with pytest.raises(UnknownDataset):
            jobs.service.get("readings")

    def test_the_same_idempotency_key_gives_the_first_job(self, jobs: Jobs) -> None:
        keyed = WriteRequest(principal="test", request_id="r", idempotency_key="k", body_hash="h")
        first = jobs.service.create(BODY, keyed)
        assert jobs.service.create(BODY, keyed) == first
        with pytest.raises(IdempotencyKeyReused):
            jobs.service.create(
                BODY, WriteRequest(principal="test", request_id="r", idempotency_key="k", body_hash="other")
            )

    def test_it_cannot_be_put_off(self, jobs: Jobs) -> None:
        moment = jobs.execute("SELECT now() + interval '1 hour'").scalar_one()
        with pytest.raises(Invalid, match="put off"):
            jobs.service.create(BODY, WriteRequest(principal="test", request_id="r", run_at=moment))

    def test_a_foreign_table_of_the_name_fails_the_job_and_the_dataset(self, jobs: Jobs) -> None:
        jobs.execute("CREATE TABLE data.readings (mine int)")
        job_id = jobs.service.create(BODY, ME)
        jobs.run()
        state, reason = jobs.state(job_id)
        assert state == "failed"
        assert "exists already" in str(reason)
        body = jobs.service.get("readings")
        assert (body["state"], body["error"]["code"]) == ("failed", "table_exists")
        with jobs.gristmill.database.autocommit() as connection, pytest.raises(DatasetFailed, match="exists already"):
            jobs.reader.get(connection, "readings")

    def test_after_a_failure_the_name_can_be_created_anew_or_the_job_retried(self, jobs: Jobs) -> None:
        jobs.execute("CREATE TABLE data.readings (mine int)")
        first = jobs.service.create(BODY, ME)
        jobs.run()
        jobs.execute("DROP TABLE data.readings")
        jobs.services.jobs.retry(first)
        jobs.run()
        assert jobs.service.get("readings")["state"] == "ready"

    def test_a_failed_one_gives_way_to_a_new_one(self, jobs: Jobs) -> None:
        jobs.execute("CREATE TABLE data.readings (mine int)")
        jobs.service.create(BODY, ME)
        jobs.run()
        jobs.execute("DROP TABLE data.readings")
        jobs.service.create({**BODY, "fields": BODY["fields"][:1], "embedding": None}, ME)
        jobs.run()
        assert len(jobs.service.get("readings")["contract"]["fields"]) == 1

    def test_a_cancelled_creation_leaves_a_failed_dataset_and_not_one_for_ever_creating(self, jobs: Jobs) -> None:
        job_id = jobs.service.create(BODY, ME)
        jobs.services.jobs.cancel(job_id, "test")
        assert jobs.service.get("readings")["state"] == "failed"
        jobs.service.create(BODY, ME)
        jobs.run()
        assert jobs.service.get("readings")["state"] == "ready"

    def test_a_retry_after_a_lost_commit_changes_nothing(self, jobs: Jobs) -> None:
        job_id = jobs.service.create(BODY, ME)
        jobs.run()
        jobs.execute("INSERT INTO data.readings (id, _seq, _ord) VALUES (1, 1, 0)")
        # As if the commit had been lost: no statement of Gristmill itself does this.
        for table in ("jobs", "chunks"):
            jobs.execute(f"ALTER TABLE gristmill.{table} DISABLE TRIGGER test_transition")
        jobs.execute("UPDATE gristmill.chunks SET state = 'waiting' WHERE job_id = :id", id=job_id)
        jobs.execute(
            "UPDATE gristmill.jobs SET state = 'queued', finished_at = NULL, chunks_done = 0 WHERE id = :id", id=job_id
        )
        for table in ("jobs", "chunks"):
            jobs.execute(f"ALTER TABLE gristmill.{table} ENABLE TRIGGER test_transition")
        jobs.run()
        assert jobs.service.get("readings")["rows"] == 1


class TestAlter:
    def test_the_new_version_is_visible_at_once_and_applied_by_its_job(self, jobs: Jobs) -> None:
        jobs.service.create(BODY, ME)
        job_id = jobs.service.alter("readings", ADD, ME)
        body = jobs.service.get("readings")
        assert (body["version"], len(body["contract"]["fields"])) == (2, 3)
        jobs.run()
        assert jobs.state(job_id) == ("succeeded", None)
        assert jobs.execute("SELECT count(unit) FROM data.readings").scalar_one() == 0

    def test_several_queued_changes_are_applied_in_order(self, jobs: Jobs) -> None:
        jobs.service.create(BODY, ME)
        jobs.service.alter("readings", ADD, ME)
        jobs.service.alter("readings", {"alter_fields": [{"name": "id", "type": "decimal"}]}, ME)
        jobs.run()
        body = jobs.service.get("readings")
        assert (body["version"], body["change_pending"], body["error"]) == (3, False, None)

    @pytest.mark.parametrize("how", ["failed", "cancelled"])
    def test_a_change_that_was_not_applied_is_taken_back(self, jobs: Jobs, how: str) -> None:
        jobs.service.create(BODY, ME)
        jobs.run()
        if how == "failed":
            # A column that nobody declared stands in the way.
            jobs.execute("ALTER TABLE data.readings ADD COLUMN unit int")
        job_id = jobs.service.alter("readings", ADD, ME)
        if how == "cancelled":
            jobs.services.jobs.cancel(job_id, "test")
        jobs.run()
        assert jobs.state(job_id)[0] == how
        body = jobs.service.get("readings")
        assert (body["state"], body["version"], len(body["contract"]["fields"])) == ("ready", 1, 2)
        assert body["error"] is not None
        dataset_id = uuid.UUID(body["id"])
        with jobs.gristmill.database.autocommit() as connection:
            jobs.reader.writable(connection, dataset_id, 1)
            with pytest.raises(ChangeFailed, match="version 2"):
                jobs.reader.writable(connection, dataset_id, 2)
        # The next change gets a number of its own.
        jobs.execute("ALTER TABLE data.readings DROP COLUMN IF EXISTS unit")
        jobs.service.alter("readings", ADD, ME)
        jobs.run()
        assert jobs.service.get("readings")["version"] == 3

    def test_a_lock_that_is_not_had_is_tried_again(self, jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
        jobs.service.create(BODY, ME)
        jobs.run()
        job_id = jobs.service.alter("readings", ADD, ME)
        with monkeypatch.context() as patch:
            patch.setattr(ddl, "LOCK_TIMEOUT_SECONDS", 0.05)
            with jobs.gristmill.database.transaction() as connection:
                connection.exec_driver_sql("SELECT * FROM data.readings")
                jobs.run(most=1)
        assert jobs.state(job_id)[0] == "running"
        jobs.execute("UPDATE gristmill.chunks SET run_at = now()")
        jobs.run()
        assert jobs.state(job_id) == ("succeeded", None)
        assert TableBusy.retryable

    def test_an_unknown_or_dropped_dataset_is_refused(self, jobs: Jobs) -> None:
        for name in ("nothing", "No Name", "a\0b"):
            with pytest.raises(UnknownDataset):
                jobs.service.alter(name, ADD, ME)


class TestDrop:
    def test_the_name_is_free_at_once_and_the_table_goes_with_the_job(self, jobs: Jobs) -> None:
        jobs.service.create(BODY, ME)
        jobs.run()
        job_id = jobs.service.drop("readings", ME)
        with pytest.raises(UnknownDataset):
            jobs.service.get("readings")
        assert jobs.tables() == ["readings"]
        jobs.run()
        assert jobs.state(job_id) == ("succeeded", None)
        assert jobs.tables() == []

    def test_create_drop_create_under_one_name(self, jobs: Jobs) -> None:
        first = jobs.service.create(BODY, ME)
        jobs.service.drop("readings", ME)
        jobs.service.create({**BODY, "fields": [*BODY["fields"], {"name": "x", "type": "date"}]}, ME)
        jobs.run()
        assert jobs.state(first) == ("cancelled", "cancelled: dataset dropped")
        body = jobs.service.get("readings")
        assert (body["state"], len(body["contract"]["fields"])) == ("ready", 3)
        assert jobs.execute("SELECT count(x) FROM data.readings").scalar_one() == 0

    def test_a_new_dataset_does_not_count_the_rows_of_the_old_one(self, jobs: Jobs) -> None:
        jobs.service.create(BODY, ME)
        jobs.run()
        jobs.execute("INSERT INTO data.readings (id, _seq, _ord) VALUES (1, 1, 0)")
        assert jobs.service.get("readings")["rows"] == 1
        jobs.service.drop("readings", ME)
        jobs.service.create(BODY, ME)
        assert jobs.service.get("readings")["rows"] == 0
        assert jobs.service.list(10, None)["datasets"][0]["sizes"]["total_bytes"] == 0

    def test_a_cancelled_drop_s_table_goes_when_the_name_is_created_anew(self, jobs: Jobs) -> None:
        jobs.service.create(BODY, ME)
        jobs.run()
        jobs.execute("INSERT INTO data.readings (id, _seq, _ord) VALUES (1, 1, 0)")
        jobs.services.jobs.cancel(jobs.service.drop("readings", ME), "test")
        jobs.service.create(BODY, ME)
        jobs.run()
        body = jobs.service.get("readings")
        assert (body["state"], body["rows"]) == ("ready", 0)

    def test_jobs_of_a_dropped_dataset_are_told_so(self, jobs: Jobs) -> None:
        jobs.service.create(BODY, ME)
        jobs.run()
        dataset_id = uuid.UUID(jobs.service.get("readings")["id"])
        jobs.service.drop("readings", ME)
        for _ in range(2):
            with jobs.gristmill.database.autocommit() as connection, pytest.raises(JobDropped, match="dataset dropped"):
                jobs.reader.writable(connection, dataset_id, 1)
            jobs.run()

    def test_those_who_build_on_the_table_are_told_before_it_goes(self, database: Database, jobs: Jobs) -> None:
        told: list[tuple[str, list[str]]] = []

        def hook(connection: Any, dataset_id: uuid.UUID, name: str) -> None:
            told.append((name, jobs.tables()))

        registry = jobs.registry
        for handler in registry:
            if isinstance(handler, CreateHandler | DropHandler):
                handler.extensions = [DatasetExtension(name="told", on_drop=hook)]
        jobs.service.create(BODY, ME)
        jobs.service.drop("readings", ME)
        jobs.run()
        assert told == [("readings", [])]
        jobs.service.create(BODY, ME)
        jobs.run()
        jobs.service.drop("readings", ME)
        jobs.run()
        assert told[1:] == [("readings", ["readings"])]


class TestList:
    def test_pages_by_name(self, jobs: Jobs) -> None:
        for name in ("c", "a", "b"):
            jobs.service.create({**BODY, "name": name}, ME)
        jobs.service.drop("b", ME)
        jobs.service.create({**BODY, "name": "d"}, ME)
        first = jobs.service.list(2, None)
        second = jobs.service.list(2, first["next_page_token"])
        assert [body["name"] for body in first["datasets"] + second["datasets"]] == ["a", "c", "d"]
        assert second["next_page_token"] is None
        with pytest.raises(Malformed):
            jobs.service.list(2, "nonsense")
