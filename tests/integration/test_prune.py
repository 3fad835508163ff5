"""Old jobs go, but for exclusive ones that a retry of an earlier failed job would have to see."""

import json
from datetime import timedelta
from random import Random
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection

from gristmill.bootstrap.shared import Gristmill
from gristmill.core.config import Settings
from gristmill.core.database import Database
from gristmill.jobs.repository import cleanup

pytestmark = pytest.mark.promise(3)
DAYS = 7
INSERT = """
INSERT INTO gristmill.jobs (id, seq, type, scope, exclusive, dataset, state, queue, priority, args, labels,
    submitted_by, request_id, max_attempts, chunks_total, chunks_done, chunks_failed, records_total, run_at,
    finished_at)
SELECT ('00000000-0000-7000-8000-' || lpad(j.seq::text, 12, '0'))::uuid, j.seq, 'test.none', j.scope, j.exclusive, 'd',
    CASE WHEN j.failed THEN 'failed' ELSE 'succeeded' END, 'default', 5, '{}', '{}', 'test', 'r', 5, 1,
    (NOT j.failed)::int, j.failed::int, 1, now(), now() - j.age
FROM jsonb_to_recordset(%(jobs)s) AS j (seq bigint, scope text, exclusive boolean, failed boolean, age interval)
"""
FURTHER = """
INSERT INTO gristmill.further_scopes (job_id, scope, exclusive, finished)
SELECT j.id, f.scope, f.exclusive, true
FROM jsonb_to_recordset(%(further)s) AS f (seq bigint, scope text, exclusive boolean) JOIN gristmill.jobs j USING (seq)
"""


class Job(NamedTuple):
    """A finished job: its scopes, and whether it was exclusive in each; when it finished, in days before now."""

    scopes: dict[str, bool]
    failed: bool
    age: float

    def goes(self, seq: int, jobs: list["Job"]) -> bool:
        """The definition, job by job."""
        mine = {scope for scope, exclusive in self.scopes.items() if exclusive}
        seen = any(job.failed and job.age < DAYS and mine & job.scopes.keys() for job in jobs[:seq])
        return self.age > DAYS and not seen


@pytest.fixture
def database(database_url: str) -> Database:
    return Gristmill(Settings(database_url=database_url, log_level="error"), "test").database


def fill(connection: Connection, jobs: list[Job]) -> None:
    """Insert the jobs; their numbers are their places."""
    rows: list[dict[str, Any]] = []
    further: list[dict[str, Any]] = []
    for seq, job in enumerate(jobs):
        (scope, exclusive), *others = job.scopes.items()
        age = str(timedelta(days=job.age).total_seconds()) + " s"
        rows.append({"seq": seq, "scope": scope, "exclusive": exclusive, "failed": job.failed, "age": age})
        further += [{"seq": seq, "scope": name, "exclusive": alone} for name, alone in others]
    connection.exec_driver_sql(INSERT, {"jobs": json.dumps(rows)})
    connection.exec_driver_sql(FURTHER, {"further": json.dumps(further)})


SCOPES = st.dictionaries(st.sampled_from("abc"), st.booleans(), min_size=1, max_size=3)
JOBS = st.lists(st.builds(Job, SCOPES, st.booleans(), st.sampled_from([1.0, 6.9, 7.1, 30.0])), max_size=12)


class TestPruneJobs:
    @given(jobs=JOBS)
    def test_what_goes_is_what_the_definition_says(self, database: Database, jobs: list[Job]) -> None:
        with database.transaction() as connection:
            fill(connection, jobs)
            cleanup.prune_jobs(connection, DAYS)
            left = set(connection.exec_driver_sql("SELECT seq FROM gristmill.jobs").scalars())
            connection.exec_driver_sql("DELETE FROM gristmill.jobs")
        assert left == {seq for seq, job in enumerate(jobs) if not job.goes(seq, jobs)}

    def test_a_long_history_is_not_read_for_each_old_job(self, database: Database) -> None:
        """Rows that all nodes of the plan return, beside the number of jobs."""
        count, random = 20_000, Random(1)
        jobs = [
            Job({random.choice("ab"): random.random() < 0.5}, random.random() < 0.01, random.uniform(0, 2 * DAYS))
            for _ in range(count)
        ]
        with database.transaction() as connection:
            fill(connection, jobs)
            connection.exec_driver_sql("ANALYZE gristmill.jobs")
            explained = connection.exec_driver_sql(
                f"EXPLAIN (ANALYZE, FORMAT JSON) {cleanup._PRUNE_JOBS}", {"days": DAYS}
            ).scalar_one()
            connection.exec_driver_sql("DELETE FROM gristmill.jobs")
        assert _rows(explained[0]["Plan"]) < 5 * count


def _rows(plan: dict[str, Any]) -> float:
    """Return how many rows the nodes have returned or thrown away."""
    own = (plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)) * plan["Actual Loops"]
    return float(own + sum(_rows(child) for child in plan.get("Plans", [])))
