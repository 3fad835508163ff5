"""Declared job types over REST: listed, checked, submitted, carried out, and what becomes of functions at fault."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.support import own_jobs
from tests.support.in_process import InProcess

Job = dict[str, Any]
CONTRACT = {"fields": [{"name": "k", "type": "text", "required": True}], "key": ["k"]}


@pytest.fixture
def app(database_url: str) -> Iterator[InProcess]:
    found = InProcess(database_url, jobs_plugins="tests.support.own_jobs", jobs_retry_base=0.001)
    with found.http, found.gristmill.database.transaction() as connection:
        connection.exec_driver_sql(own_jobs.TABLE)
        connection.commit()
        yield found
    found.gristmill.database.close()


def submit(app: InProcess, type_: str, args: Any = None, path: str = "", **body: Any) -> Any:
    return app.http.post(f"/api/v1/jobs{path}", json={"type": type_, "args": args or {}, **body})


def effects(app: InProcess) -> list[Any]:
    with app.gristmill.database.autocommit() as connection:
        return list(connection.exec_driver_sql("SELECT type, note FROM data.own_effects ORDER BY at"))


class TestSubmit:
    def test_arguments_come_typed_and_the_result_is_json(self, app: InProcess) -> None:
        args = {"name": "May", "since": "2026-05-01T00:00:00+02:00", "parts": [{"weight": "1.10"}, {"weight": 2}]}
        answer = submit(app, "own.report", args, labels={"run": "1"}, priority=7)
        assert answer.status_code == 202
        assert answer.headers["location"] == answer.json()["links"]["self"]
        job = app.job(answer)
        assert (job["state"], job["type"], job["priority"], job["max_attempts"]) == ("succeeded", "own.report", 7, 3)
        assert job["result"] == {
            "name": "May", "weight": "3.10", "since": "2026-05-01T00:00:00+02:00", "job": job["id"], "who": "local",
            "labels": {"run": "1"},
        }  # fmt: skip
        assert effects(app) == [("own.report", "May")]
