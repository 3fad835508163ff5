"""A database of the first release, with data in it, jobs waiting and a plugin loaded, comes up on this version.

``landed/dump.sql`` was made by that release (revision 2026_11_22_0130): REST requests of ``landed/asked.py``, jobs of a
plugin in all states, and ``pg_dump``. Nothing of it is lost, done twice or changed.
"""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from tests.migrations.landed import asked
from tests.support.servers import add_database
from tests.support.system import System, eventually

from gristmill.core.migrate import upgrade

DUMP = Path(asked.__file__).with_name("dump.sql")
# Every moment moves by as much as the dump is old: else its keys would be out of date, and its jobs swept away.
YOUNGER = """
DO $$
DECLARE
    age interval := clock_timestamp() - (SELECT max(created_at) FROM gristmill.jobs);
    found record;
BEGIN
    FOR found IN
        SELECT table_name, string_agg(format('%I = %I + $1', column_name, column_name), ', ') AS moved
        FROM information_schema.columns
        WHERE table_schema = 'gristmill' AND data_type = 'timestamp with time zone' AND is_updatable = 'YES'
        GROUP BY table_name
    LOOP
        EXECUTE format('UPDATE gristmill.%I SET %s', found.table_name, found.moved) USING age;
    END LOOP;
END $$
"""


@pytest.fixture(scope="module")
def restored() -> str:
    """The dump in a database of its own, not migrated yet."""
    url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"])
    with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        cursor.execute(DUMP.read_text(encoding="utf-8"))
        cursor.execute(YOUNGER)
        connection.commit()
    return url


@dataclass
class Landed:
    """before: the jobs of the dump, by id. system: the processes of this version, with everything carried out."""

    system: System
    before: dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def landed(restored: str, worker_number: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landed]:
    """This version on the dump, with the plugin as it was then.

    The time of the scheduled job has come, and the failed one was retried; all jobs have ended.
    """
    upgrade(restored)
    system = System(
        restored,
        # Workers of the system that tests share would take its messages and find none of its jobs.
        os.environ[f"GRISTMILL_TEST_BROKER_URL_{worker_number}_OWN"],
        tmp_path_factory.mktemp("landed"),
        jobs_plugins="tests.migrations.landed.plugin",
        jobs_resend_after=2,
        jobs_retry_base=0.05,
        dispatcher_poll=0.1,
    )
    before = {str(row["id"]): row for row in system.query("SELECT * FROM gristmill.jobs")}
    try:
        system.start()
        for table, column in (("jobs", "id"), ("chunks", "job_id")):
            later = job_of(system, asked.SCHEDULED)
            system.query(f"UPDATE gristmill.{table} SET run_at = clock_timestamp() WHERE {column} = %s", (later,))
        (failed,) = (id_ for id_, row in before.items() if row["state"] == "failed")
        with system.http() as http:
            assert http.post(f"/api/v1/jobs/{failed}/retry").status_code == 202
        for job_id in before:
            system.finished(job_id, 120)
        yield Landed(system, before)
    finally:
        system.stop()


def ask(system: System, request: asked.Asked) -> Any:
    with system.http() as http:
        return http.request(
            request.method,
            f"/api/v1/{request.path}",
            content=request.body,
            headers={**request.headers, "Idempotency-Key": request.key.replace(" ", "-")},
        )


def job_of(system: System, request: asked.Asked) -> str:
    query = "SELECT job_id::text FROM gristmill.idempotency_keys WHERE key = %s"
    return str(system.query(query, (request.key.replace(" ", "-"),))[0]["job_id"])


def rows(system: System, sql: str) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in system.query(sql)]


@pytest.mark.promise(1)
@pytest.mark.promise(2)
class TestUpgrade:
    def test_the_migrations_change_no_row(self) -> None:
        url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"])
        with contextlib.closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            cursor.execute(DUMP.read_text(encoding="utf-8"))
            cursor.execute(
                "SELECT table_schema, table_name, string_agg(quote_ident(column_name), ', ' ORDER BY ordinal_position)"
                " FROM information_schema.columns WHERE table_schema IN ('gristmill', 'data', 'public')"
                " AND table_name NOT LIKE 'alembic%' GROUP BY 1, 2 ORDER BY 1, 2"
            )
            tables = cursor.fetchall()

            def contents() -> dict[str, list[Any]]:
                found = {}
                for schema, name, columns in tables:
                    cursor.execute(f"SELECT {columns} FROM {schema}.{name}")
                    found[f"{schema}.{name}"] = sorted(cursor.fetchall(), key=str)
                return found

            before = contents()
            upgrade(url)
            assert contents() == before
        filled = {name for name, found in before.items() if found}
        assert {"gristmill.jobs", "gristmill.payloads", "gristmill.rejects", "data.stations"} <= filled

    def test_every_job_is_carried_out(self, landed: Landed) -> None:
        assert {row["state"] for row in landed.before.values()} == {
            "scheduled", "queued", "running", "failed", "succeeded",
        }  # fmt: skip
        after = {job_id: landed.system.job(job_id) for job_id in landed.before}
        assert {row["state"] for row in after.values()} == {"succeeded"}, [row["error"] for row in after.values()]
        assert all(after[id_]["seq"] == row["seq"] for id_, row in landed.before.items() if row["state"] != "scheduled")

    def test_jobs_of_the_plugin_went_on_from_each_state(self, landed: Landed) -> None:
        written = rows(landed.system, "SELECT job, chunk, payload FROM public.landed ORDER BY job, chunk")
        assert written == sorted(
            (name, chunk, f"{name} {chunk}") for name in asked.PLUGIN_JOBS for chunk in range(asked.PLUGIN_CHUNKS)
        )

    def test_the_rows_are_those_of_the_order_of_submission(self, landed: Landed) -> None:
        assert (
            rows(landed.system, "SELECT id, value, height::text FROM data.stations ORDER BY id") == asked.STATIONS_AFTER
        )
        assert [row[0] for row in rows(landed.system, "SELECT n FROM data.readings ORDER BY n")] == asked.READINGS_AFTER
        assert rows(landed.system, 'SELECT text, stars FROM data.notes ORDER BY text COLLATE "C"') == asked.NOTES_AFTER
        assert [row[0] for row in rows(landed.system, "SELECT k FROM data.fresh ORDER BY k")] == asked.FRESH_AFTER
        exact = "SELECT count(*) FROM data.readings WHERE (_embedding::real[])[1] = n AND at IS NOT NULL"
        assert rows(landed.system, exact) == [(len(asked.READINGS_AFTER),)]
        assert rows(landed.system, "SELECT count(*) FROM data.notes WHERE _embedding IS NULL") == [(0,)]

    def test_every_table_gets_its_primary_key(self, landed: Landed) -> None:
        keys = """
            SELECT c.relname, pg_get_constraintdef(p.oid) FROM pg_class c
            LEFT JOIN pg_constraint p ON p.conrelid = c.oid AND p.contype = 'p'
            WHERE c.relnamespace = 'data'::regnamespace AND c.relkind = 'r' ORDER BY 1
        """
        found = eventually(
            lambda: (made := rows(landed.system, keys)) and all(key for _, key in made) and made, "keys are made", 120
        )
        assert found == [
            ("fresh", "PRIMARY KEY (k)"),
            ("notes", "PRIMARY KEY (_id)"),
            ("readings", "PRIMARY KEY (n)"),
            ("stations", "PRIMARY KEY (id)"),
        ]

    def test_each_key_is_answered_with_the_job_of_then(self, landed: Landed) -> None:
        for request in [*asked.DONE, *asked.WAITING, asked.SCHEDULED]:
            answer = ask(landed.system, request)
            assert answer.status_code in (200, 202), (request.key, answer.text)
            assert answer.json()["id"] == job_of(landed.system, request), request.key
        more = {
            str(row["id"]) for row in landed.system.query("SELECT id FROM gristmill.jobs WHERE type LIKE 'records.%%'")
        }
        assert more <= set(landed.before)

    def test_rejects_are_listed_and_searches_find_what_was_stored(self, landed: Landed) -> None:
        quarantined = job_of(landed.system, asked.DONE[-1])
        with landed.system.http() as http:
            (reject,) = http.get(f"/api/v1/jobs/{quarantined}/rejects").json()["rejects"]
            assert (reject["record"], reject["errors"][0]["field"]) == (1, "value")
            found = http.post("/api/v1/datasets/readings/search", json={"vector": [7, 1.5, -0.25], "k": 400})
            assert found.json()["complete"] is True
            assert sorted(hit["key"] for hit in found.json()["hits"]) == sorted(asked.READINGS_AFTER)
