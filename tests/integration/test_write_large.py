"""Bodies that are read while Postgres takes what was read before: all or nothing, read once, in any number."""

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from tests.support.in_process import NDJSON, InProcess

from gristmill.records.ingest import service
from gristmill.records.spool import MEMORY_BYTES

THINGS = {
    "fields": [{"name": "k", "type": "integer", "required": True}, {"name": "note", "type": "text"}],
    "key": ["k"],
}
NOTE = "x" * 1000
ROWS = 2 * MEMORY_BYTES // len(NOTE)


def body(rows: int = ROWS, wrong: int | None = None, note: str = NOTE) -> bytes:
    records = ({"k": "none" if k == wrong else k, "note": f"{k} {note}"} for k in range(rows))
    return b"\n".join(json.dumps(record).encode() for record in records)


def count(app: InProcess, sql: str) -> int:
    with app.gristmill.database.autocommit() as connection:
        return int(connection.execute(sa.text(sql)).scalar_one())


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "read-ahead"]


@pytest.fixture
def read_ahead(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every body that was read while it was staged."""
    found: list[Any] = []

    class Counted(service.ReadAhead):  # type: ignore[type-arg]
        def __init__(self, *arguments: Any) -> None:
            found.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(service, "ReadAhead", Counted)
    return found


@pytest.mark.parametrize("chunk_bytes", [100_000, 8 * 1024 * 1024])
def test_a_large_body_is_stored_whole(database_url: str, read_ahead: list[Any], chunk_bytes: int) -> None:
    app = InProcess(database_url, jobs_chunk_bytes=chunk_bytes)
    with app.http:
        name = app.dataset(THINGS)
        job = app.job(app.post(name, body(), headers=NDJSON))
        assert (job["state"], job["record_counts"]["succeeded"]) == ("succeeded", ROWS)
        assert count(app, f"SELECT count(*) FROM data.{name} WHERE note = k || ' {NOTE}'") == ROWS
    assert len(read_ahead) == 1
    assert readers() == []
    app.gristmill.database.close()


@pytest.mark.parametrize("wrong", [0, ROWS // 2, ROWS - 1])
def test_one_bad_record_anywhere_leaves_nothing(app: InProcess, read_ahead: list[Any], wrong: int) -> None:
    name = app.dataset(THINGS)
    app.work()
    answer = app.post(name, body(wrong=wrong), headers=NDJSON)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["record"], error["field"]) == (wrong, "k")
    assert len(read_ahead) == 1
    assert count(app, "SELECT count(*) FROM gristmill.payloads") == 0
    assert count(app, "SELECT count(*) FROM gristmill.jobs WHERE type = 'records.ingest'") == 0
    assert readers() == []


def test_a_large_body_of_one_small_payload(app: InProcess, read_ahead: list[Any]) -> None:
    """It compresses so well that its only chunk goes in with its job."""
    name = app.dataset(THINGS)
    lines = b'{"k":1,"note":"%s"}\n' % (b"a" * 60_000)
    job = app.job(app.post(name, lines * 20, headers=NDJSON))
    assert (job["record_counts"]["succeeded"], job["record_counts"]["superseded"]) == (1, 19)
    assert len(read_ahead) == 1


def test_a_name_that_stands_for_another_dataset_now(app: InProcess, read_ahead: list[Any]) -> None:
    """What the process remembers of the name is out of date: a large body is not read twice to find that out."""
    name = app.dataset(THINGS)
    app.job(app.post(name, b'{"k": 1}', headers=NDJSON))
    app.job(app.http.delete(f"/api/v1/datasets/{name}?confirm={name}"))
    assert app.http.post("/api/v1/datasets", json={**THINGS, "name": name}).status_code == 202
    job = app.job(app.post(name, body(), headers=NDJSON))
    assert job["record_counts"]["succeeded"] == ROWS
    assert len(read_ahead) == 1


def test_a_contract_that_changes_while_a_large_body_is_read(
    app: InProcess, monkeypatch: pytest.MonkeyPatch, read_ahead: list[Any]
) -> None:
    name = app.dataset(THINGS)
    app.work()
    validator_of = service.validator_of
    added = {"add_fields": [{"name": "more", "type": "text"}]}

    def change_first(contract: Any) -> Any:
        monkeypatch.setattr(service, "validator_of", validator_of)
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(app.http.patch, f"/api/v1/datasets/{name}", json=added).result()
        assert answer.status_code == 202, answer.text
        return validator_of(contract)

    monkeypatch.setattr(service, "validator_of", change_first)
    job = app.job(app.post(name, body(), headers=NDJSON))
    assert job["record_counts"]["succeeded"] == ROWS
    # The first reading was for nothing: the job is of the contract that was there when it got its number.
    assert len(read_ahead) == 2
    assert count(app, f"SELECT count(*) FROM data.{name} WHERE more IS NULL") == ROWS


def test_more_at_once_than_may_hold_a_connection(database_url: str, read_ahead: list[Any]) -> None:
    """Those beyond half of the pool are read first and staged then; all of them are stored."""
    app = InProcess(database_url, database_pool=2)
    with app.http:
        names = [app.dataset(THINGS) for _ in range(4)]
        app.work()
        app.post(names[0], body(wrong=3), headers=NDJSON)  # An error gives its place back.
        with ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda name: app.post(name, body(), headers=NDJSON), names))
        for name, answer in zip(names, answers, strict=True):
            assert app.job(answer)["record_counts"]["succeeded"] == ROWS, name
    assert 2 <= len(read_ahead) <= 5
    assert readers() == []
    app.gristmill.database.close()
