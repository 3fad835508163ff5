"""What users read of an error is a sentence for them: no SQL, no values of statements, no links, no traceback."""

import json
import traceback
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydantic import BaseModel
from sqlalchemy import Connection
from tests.support.in_process import CSV, NDJSON, InProcess, Job

from gristmill.api.app import make_app
from gristmill.jobs.handlers import ChunkTask, Outcome, TransactionalHandler
from gristmill.jobs.submit import NewChunk, NewJob, WriteRequest, submit_once

FORBIDDEN = (
    "LINE 1:", "Background on this error", "sqlalche.me", "errors.pydantic.dev", "For further information", "Traceback",
    "[SQL:", "[parameters:", "psycopg2.", "sqlalchemy.", 'File "', "SELECT ", "INSERT INTO", "UPDATE ", "DELETE FROM",
    "secret value", "http://", "https://",
)  # fmt: skip
DATASET: Job = {
    "fields": [{"name": "k", "type": "text", "required": True}, {"name": "at", "type": "timestamp"}],
    "key": ["k"],
    "time_field": "at",
    "embedding": {"dimensions": 2},
    "text_search": {"from": ["k"]},
}


@pytest.fixture
def app(fresh_app: InProcess) -> InProcess:
    """They break it."""
    return fresh_app


def texts(value: Any) -> Iterator[str]:
    """Yield every text of a JSON value, names of members too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from texts(member)


def assert_for_users(problem: Job) -> None:
    assert {"type", "title", "status", "code", "detail"} <= set(problem), problem
    assert problem["detail"].strip()
    assert "\n" not in problem["detail"], problem["detail"]
    for text in texts(problem):
        found = [mark for mark in FORBIDDEN if mark in text]
        assert not found, f"{found} in {text!r}"


class _Args(BaseModel):
    count: int


def _nested() -> None:
    try:
        raise KeyError("inner")
    except KeyError as error:
        raise RuntimeError(f"it broke\n{traceback.format_exc()}") from error


OWN_STATE = "DO $$ BEGIN RAISE EXCEPTION 'secret value' USING ERRCODE = 'ZZ999'; END $$"
# How a handler may fail, by the library that complains.
DEFECTS: dict[str, Callable[[Connection], Any]] = {
    "syntax": lambda c: c.exec_driver_sql("SELECT nothing FROM nowhere WHERE x = 'secret value'"),
    "text": lambda c: c.execute(sa.text("SELECT secret FROM nowhere WHERE x = :x"), {"x": "secret value"}),
    "null": lambda c: c.execute(
        sa.text("INSERT INTO gristmill.counters (name, labels, value) VALUES (:x, 'l', NULL)"), {"x": "secret value"}
    ),
    "unique": lambda c: [
        c.exec_driver_sql("INSERT INTO gristmill.counters (name, labels, value) VALUES ('secret value', 'l', 1)")
        for _ in range(2)
    ],
    "own state": lambda c: c.exec_driver_sql(OWN_STATE),
    "cursor": lambda c: c.connection.cursor().execute("SELECT 1 / 0 AS a, 'secret value' AS b"),
    "no column": lambda c: c.execute(sa.select(sa.literal(1))).scalars().one().missing,
    "sqlalchemy": lambda c: c.execute(sa.text("SELECT 'secret value' WHERE :unbound = 1")),
    "pydantic": lambda c: _Args.model_validate({"count": "many"}),
    "traceback": lambda c: _nested(),
    "value": lambda c: int("twelve"),
    "silent": lambda c: _raise(ValueError()),
}  # fmt: skip


def _raise(error: Exception) -> None:
    raise error


class Defective(TransactionalHandler):
    type = "test.defective"

    def apply(self, connection: Connection, task: ChunkTask, prepared: Any) -> Outcome:
        DEFECTS[task.args["how"]](connection)
        return Outcome()


class TestJobs:
    @pytest.mark.parametrize("how", DEFECTS)
    def test_a_defect_of_a_handler(self, app: InProcess, how: str) -> None:
        app.executor._registry.add(Defective())
        job = NewJob("test.defective", "s", False, {"how": how}, None, [NewChunk(0, 1, None)], max_attempts=1)
        request = WriteRequest(principal="test", request_id="r")
        job_id = submit_once(app.gristmill.database, request, lambda _: job)
        app.work()
        found = app.http.get(f"/api/v1/jobs/{job_id}").json()
        assert (found["state"], found["error"]["code"]) == ("failed", "internal"), found
        assert_for_users(found["error"])

    def test_what_went_wrong_is_still_said(self, app: InProcess) -> None:
        said = {
            "syntax": "undefined table (SQLSTATE 42P01)",
            "unique": "unique violation (SQLSTATE 23505)",
            "own state": "an error (SQLSTATE ZZ999)",
            "pydantic": "count: Input should be a valid integer",
            "value": "ValueError: invalid literal for int() with base 10: 'twelve'",
            "traceback": "RuntimeError: it broke",
        }
        app.executor._registry.add(Defective())
        for how, sentence in said.items():
            job = NewJob("test.defective", how, False, {"how": how}, None, [NewChunk(0, 1, None)], max_attempts=1)
            request = WriteRequest(principal="test", request_id="r")
            job_id = submit_once(app.gristmill.database, request, lambda _, job=job: job)
            app.work()
            assert sentence in app.http.get(f"/api/v1/jobs/{job_id}").json()["error"]["detail"]

    @pytest.mark.parametrize("rows", [1, 3000])
    def test_a_table_that_somebody_has_changed(self, app: InProcess, rows: int) -> None:
        """By INSERT and by COPY."""
        name = app.dataset({"fields": [{"name": "k", "type": "text"}]})
        app.work()
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(f"ALTER TABLE data.{name} DROP COLUMN k")
        job = app.job(app.post(name, [{"k": "secret value"}] * rows))
        assert job["state"] == "failed"
        assert_for_users(job["error"])


def _as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


# (method, path below the dataset, headers, body): everything here is refused.
REFUSED: list[tuple[str, str, dict[str, str], bytes]] = [
    ("POST", "/records", {}, b"{"),
    ("POST", "/records", {}, b'[{"k": 1}, {"k": "a", "at": "yesterday"}, {"x": null}, 7]'),
    ("POST", "/records", {}, b"\xff\xfe"),
    ("POST", "/records", NDJSON, b'{"k": "a"}\n{"k": \n'),
    ("POST", "/records", CSV, b'k,at\n"a,2026\n'),
    ("POST", "/records", CSV, b"k,_embedding\na,[1\n"),
    ("POST", "/records", {"content-type": "application/vnd.apache.parquet"}, b"PAR1 is not enough PAR1"),
    ("POST", "/records", {"content-type": "application/vnd.apache.arrow.stream"}, b"\0" * 64),
    ("POST", "/records", {"content-type": "application/json", "content-encoding": "gzip"}, b"no gzip"),
    ("POST", "/records", {"content-type": "application/json", "content-encoding": "zstd"}, b"no zstd"),
    ("POST", "/records", {"content-type": "text/html"}, b"<p>"),
    ("POST", "/records?priority=high&run_at=soon&label=x&wait=long", {}, b"[]"),
    ("POST", "/records?retry_of=x", {}, b'[{"k": "a"}]'),
    ("PATCH", "/records/a", {}, b'{"at": 5, "k": null}'),
    ("PATCH", "/records/a", {}, b"{"),
    ("POST", "/records/delete", {}, b'{"where": {"k": {"like": 1}}}'),
    ("POST", "/records/delete", {}, b"[" * 2000),
    ("GET", "/records?" + urllib.parse.urlencode({"where": '{"k": {"in": 3}}', "order": "nothing"}), {}, b""),
    ("GET", "/records?" + urllib.parse.urlencode({"where": "{", "page_size": "0"}), {}, b""),
    ("GET", "/records?page_token=nonsense&start=soon", {}, b""),
    ("GET", "/export?format=xml&fields=nothing", {}, b""),
    ("POST", "/search", {}, b"{"),
    ("POST", "/search", {}, _as_json({"vector": [1, "two"], "k": -1, "where": []})),
    ("POST", "/search", {}, _as_json({"text": "a", "mode": "text", "ef": "wide"})),
    ("POST", "/search", {}, _as_json({"vector": [1e400, 0]}).replace(b"Infinity", b"1e400")),
    ("POST", "/search", {}, _as_json({"vector": [1, 2], "page_token": "nonsense", "page_size": 2})),
    ("PATCH", "", {}, b'{"add_fields": [{"name": 1, "type": "colour"}], "rename": 1}'),
    ("PATCH", "/index", {}, b"{"),
]  # fmt: skip


class TestRest:
    @pytest.mark.parametrize(("method", "path", "headers", "body"), REFUSED)
    def test_a_request_that_is_refused(
        self, app: InProcess, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> None:
        name = app.dataset(DATASET)
        app.work()
        answer = app.http.request(
            method,
            f"/api/v1/datasets/{name}{path}",
            content=body,
            headers={"content-type": "application/json", **headers},
        )
        assert 400 <= answer.status_code < 500, answer.text
        assert_for_users(answer.json())

    @pytest.mark.parametrize(
        "body", [b"{", b"[]", b'{"name": 1}', _as_json({"name": "x", "fields": [{"name": "_a", "type": 3}]})]
    )
    def test_a_contract_that_is_refused(self, app: InProcess, body: bytes) -> None:
        answer = app.http.post("/api/v1/datasets", content=body, headers={"content-type": "application/json"})
        assert 400 <= answer.status_code < 500
        assert_for_users(answer.json())

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("POST", "/records", [{"k": "secret value", "_embedding": [1, 2]}]),
            ("POST", "/records?wait=1", [{"k": "a", "_embedding": [1, 2]}] * 3),
            ("PATCH", "/records/a", {"at": None}),
            ("DELETE", "/records/a", None),
            ("GET", "/records?page_size=5", None),
            ("GET", "/records/a", None),
            ("GET", "/latest", None),
            ("GET", "/export", None),
            ("POST", "/search", {"vector": [1, 2]}),
            ("GET", "", None),
            ("GET", "/index", None),
            ("POST", "/index/rebuild", None),
            ("PATCH", "", {"add_fields": [{"name": "more", "type": "text"}]}),
        ],
    )
    def test_a_database_that_is_not_as_it_should_be(self, app: InProcess, method: str, path: str, body: Any) -> None:
        """Somebody has renamed columns: each of these calls meets an error of Postgres that nobody expects."""
        name = app.dataset(DATASET)
        app.work()
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(f"ALTER TABLE data.{name} RENAME COLUMN k TO secret_value")
            connection.exec_driver_sql(f"ALTER TABLE data.{name} RENAME COLUMN _embedding TO secret_vector")
            connection.exec_driver_sql(f"ALTER TABLE data.{name} RENAME COLUMN _id TO secret_id")
            for table in ("jobs", "segments", "index_settings", "dataset_versions"):
                connection.exec_driver_sql(f"ALTER TABLE gristmill.{table} RENAME TO gone_{table}")
        http = TestClient(make_app(app.services), base_url="http://localhost", raise_server_exceptions=False)
        answer = http.request(method, f"/api/v1/datasets/{name}{path}", json=body)
        assert answer.status_code >= 400, answer.text
        assert_for_users(answer.json())

    def test_a_server_that_cannot_be_reached(self, app: InProcess) -> None:
        name = app.dataset(DATASET)
        app.gristmill.database.engine.dispose()
        with psycopg2.connect(
            app.gristmill.database.url.set(drivername="postgresql", database="postgres").render_as_string(False)
        ) as connection:
            connection.autocommit = True
            database = app.gristmill.database.url.database
            with connection.cursor() as cursor:
                cursor.execute(f'ALTER DATABASE "{database}" WITH ALLOW_CONNECTIONS false')
                cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))
        http = TestClient(make_app(app.services), base_url="http://localhost", raise_server_exceptions=False)
        answer = http.get(f"/api/v1/datasets/{name}/records")
        assert answer.status_code == 503
        assert_for_users(answer.json())
