"""Errors as the database port sees them: a full disk, a message that cannot be read; the tablespace of datasets."""

import os
import struct
import uuid

import psycopg2
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import Connection

from gristmill.api.app import make_app
from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.shared import Gristmill
from gristmill.core.config import Settings
from gristmill.core.copy import BINARY_HEAD, BINARY_TAIL, copy_in
from gristmill.core.database import Database, internal_of
from gristmill.core.errors import DatabaseUnavailable, StorageFull, Unavailable
from gristmill.datasets.errors import NoDiskLeft
from gristmill.datasets.index_session import open_session

# What Postgres says when a file cannot grow.
FULL = "RAISE EXCEPTION USING ERRCODE = 'disk_full', MESSAGE = 'could not extend file: No space left on device'"


def fail(connection: Connection) -> None:
    connection.exec_driver_sql(f"DO $$ BEGIN {FULL}; END $$")


class TestProtocolViolation:
    def test_a_copy_that_postgres_cannot_read_is_a_defect_and_is_not_tried_for_ever(self, database: Database) -> None:
        # One row of one value of four bytes, which as a numeric has eight and more.
        row = struct.pack("!hii", 1, 4, 0)

        def copy(connection: Connection) -> None:
            connection.exec_driver_sql("CREATE TEMP TABLE numbers (n numeric) ON COMMIT DROP")
            copy_in(connection, "COPY numbers FROM STDIN (FORMAT binary)", [BINARY_HEAD + row + BINARY_TAIL])

        with pytest.raises(psycopg2.Error) as caught, database.transaction() as connection:
            copy(connection)
        assert caught.value.pgcode == "08P01"
        assert "protocol violation (SQLSTATE 08P01)" in internal_of(caught.value).detail


class TestFullDisk:
    def test_it_is_an_error_of_its_own_that_costs_no_attempt(self, database: Database) -> None:
        for open_connection in (database.transaction, database.autocommit):
            with pytest.raises(StorageFull, match="No space left on device") as caught, open_connection() as connection:
                fail(connection)
            assert isinstance(caught.value, DatabaseUnavailable)
            assert (caught.value.status, caught.value.code, caught.value.costs_attempt) == (503, "storage_full", False)
            assert caught.value.headers() == {"Retry-After": "10"}

    def test_an_index_build_that_meets_it_waits_too(self, database: Database) -> None:
        with open_session(database, uuid.uuid4(), lambda: None) as session, pytest.raises(NoDiskLeft) as caught:
            session.run(f"DO $$ BEGIN {FULL}; END $$")
        assert (caught.value.code, caught.value.costs_attempt, caught.value.retryable) == ("storage_full", False, True)

    def test_a_write_that_cannot_be_stored_is_a_503_problem_and_nothing_is_kept(
        self, database: Database, database_url: str
    ) -> None:
        gristmill = Gristmill(Settings(database_url=database_url, log_level="error"), "test", pool=4)
        contract = {"name": "notes", "fields": [{"name": "id", "type": "integer"}]}
        with TestClient(make_app(ApiServices(gristmill)), base_url="http://localhost/api/v1/") as http:
            assert http.post("datasets", json=contract).status_code == 202
            with database.transaction() as connection:
                connection.exec_driver_sql(
                    f"CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {FULL}; END $$"
                )
                connection.exec_driver_sql(
                    "CREATE TRIGGER full_disk BEFORE INSERT ON gristmill.payloads FOR EACH ROW "
                    "EXECUTE FUNCTION no_room()"
                )
            answer = http.post("datasets/notes/records", json=[{"id": 1}], headers={"Idempotency-Key": "k"})
            assert (answer.status_code, answer.json()["code"]) == (503, "storage_full")
            assert answer.headers["retry-after"] == "10"
            jobs = http.get("jobs", params={"type": "records.ingest"}).json()["jobs"]
            assert jobs == []
            with database.transaction() as connection:
                connection.exec_driver_sql("DROP TRIGGER full_disk ON gristmill.payloads")
            again = http.post("datasets/notes/records", json=[{"id": 1}], headers={"Idempotency-Key": "k"})
            assert again.status_code == 202
        gristmill.database.close()


class TestTablespace:
    def test_one_that_is_not_there_is_refused(self, database_url: str) -> None:
        missing = Database(database_url, "test", tablespace="nowhere")
        with pytest.raises(Unavailable, match=r"nowhere cannot be used .*: there is no such tablespace"):
            missing.check_tablespace()
        missing.close()

    def test_one_that_is_there_is_used_and_none_is_the_databases_own(self, database_url: str) -> None:
        named = Database(os.environ.get("GRISTMILL_TEST_POSTGRES", database_url), "test", tablespace="pg_default")
        named.check_tablespace()
        with named.transaction() as connection:
            assert connection.exec_driver_sql("SHOW default_tablespace").scalar() == "pg_default"
        named.close()
        none = Database(database_url, "test")
        none.check_tablespace()
        with none.transaction() as connection:
            assert connection.exec_driver_sql("SHOW default_tablespace").scalar() == ""
        none.close()
