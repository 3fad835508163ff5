"""Refusals: what every one of them must look like, and a watch that nothing is kept of what was refused."""

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.support.rest import Json, Rest, new_name
from tests.support.system import System

CONTRACT: Json = {
    "fields": [
        {"name": "k", "type": "text", "required": True},
        {"name": "i", "type": "integer"},
        {"name": "small", "type": "integer", "minimum": 0, "maximum": 10},
        {"name": "f", "type": "float"},
        {"name": "d", "type": "decimal", "precision": 5, "scale": 2},
        {"name": "t", "type": "timestamp"},
        {"name": "u", "type": "uuid"},
        {"name": "b", "type": "boolean"},
        {"name": "j", "type": "json"},
        {"name": "short", "type": "text", "max_length": 5},
        {"name": "long", "type": "text"},
        {"name": "img", "type": "image"},
        {"name": "v", "type": "vector", "dimensions": 3},
    ],
    "key": ["k"],
    "time_field": "t",
}
JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
STORED = """
SELECT (SELECT count(*) FROM gristmill.jobs) AS jobs, (SELECT count(*) FROM gristmill.chunks) AS chunks,
    (SELECT count(*) FROM gristmill.payloads) AS payloads, (SELECT count(*) FROM gristmill.rejects) AS rejects,
    (SELECT count(*) FROM gristmill.idempotency_keys) AS keys,
    (SELECT count(*) FROM gristmill.datasets) AS datasets,
    (SELECT count(*) FROM gristmill.dataset_versions) AS versions"""


@pytest.fixture(scope="module")
def rest(system: System) -> Iterator[Rest]:
    with Rest(system) as found:
        yield found


@pytest.fixture(scope="module")
def kept(rest: Rest) -> str:
    """A dataset with one record."""
    found = rest.create(CONTRACT)
    rest.store(found, [{"k": "kept"}])
    return found


@pytest.fixture(scope="module")
def vectors(rest: Rest) -> str:
    """A dataset whose vectors clients supply."""
    fields = [{"name": "k", "type": "text", "required": True}]
    return rest.create({"fields": fields, "key": ["k"], "embedding": {"dimensions": 3}})


@pytest.fixture(scope="module")
def connection(system: System) -> Iterator[Any]:
    """A connection for looking around every test."""
    with system.connect() as found:
        found.autocommit = True
        yield found


@pytest.fixture
def nothing_is_kept(connection: Any, kept: str, vectors: str) -> Iterator[None]:
    """Around every test: neither jobs nor rows nor idempotency keys come of what is refused."""

    def look() -> Any:
        rows = f"(SELECT array_agg(k) FROM data.{kept}) AS rows, (SELECT count(*) FROM data.{vectors}) AS vectors"
        with connection.cursor() as cursor:
            cursor.execute(f"{STORED}, {rows}")
            return cursor.fetchone()

    before = look()
    assert (before["rows"], before["vectors"]) == (["kept"], 0)
    yield
    assert look() == before


def refused(answer: httpx.Response, status: int, code: str) -> Json:
    """Check that the answer is a whole problem object of this status and code, and return it."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem: Json = answer.json()
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert problem["type"] == f"urn:gristmill:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert len(answer.content) < 100_000
    return problem


def place(problem: Json) -> tuple[Any, ...]:
    """The first place of a problem as (pointer, code); its record and field must agree with the pointer."""
    first = problem["errors"][0]
    assert first["reason"]
    steps = first["pointer"].split("/")[1:]
    if "record" in first:
        assert steps[0] == str(first["record"])
    if "field" in first and "record" in first:
        assert steps[1] == first["field"]
    return first["pointer"], first["code"]


def post(rest: Rest, name: str, body: bytes, kind: str = JSON, **options: Any) -> httpx.Response:
    headers = {"content-type": kind, "idempotency-key": new_name("key"), **options.pop("headers", {})}
    return rest.post(name, body, headers=headers, **options)
