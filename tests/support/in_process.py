"""REST and the real submit, dispatch and worker code in one process: workers run when they are told to."""

import itertools
import json
import urllib.parse
import uuid
from typing import Any

from fastapi.testclient import TestClient

from gristmill.api.app import make_app
from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.shared import Gristmill
from gristmill.bootstrap.worker import build_executor
from gristmill.core.config import Settings
from gristmill.jobs.repository.dispatch import mark_sent

Job = dict[str, Any]
NDJSON = {"content-type": "application/x-ndjson"}
CSV = {"content-type": "text/csv"}


class InProcess:
    """The REST interface, and workers that run when they are told to."""

    def __init__(self, database_url: str, **options: Any) -> None:
        # Learning a curve rests five times as long as it works: few queries, so that tests need not wait for it.
        given = {"log_level": "error", "search_recall_samples": 40, **options}
        self.gristmill = Gristmill(Settings(database_url=database_url, **given), "test", pool=8)
        self.services = ApiServices(self.gristmill)
        self.http = TestClient(make_app(self.services), base_url="http://localhost")
        self.executor = build_executor(self.gristmill)
        self.names = itertools.count()

    def work(self, limit: int = 1000, queue: str = "default") -> int:
        """Run due chunks of a queue until there are none; return how many were run."""
        done = 0
        while done < limit:
            with self.gristmill.database.transaction() as connection:
                messages = mark_sent(connection, queue, min(4, limit - done))
            if not messages:
                return done
            for message in reversed(messages):  # Plain jobs may run in any order.
                self.executor.run(message.job_id, message.number, message.dispatch)
            done += len(messages)
        return done

    def dataset(self, body: Job) -> str:
        name = f"d{next(self.names)}_{uuid.uuid4().hex[:8]}"
        answer = self.http.post("/api/v1/datasets", json={**body, "name": name})
        assert answer.status_code == 202, answer.text
        return name

    def post(self, name: str, records: Any, path: str = "records", **options: Any) -> Any:
        if isinstance(records, bytes):
            return self.http.post(f"/api/v1/datasets/{name}/{path}", content=records, **options)
        return self.http.post(f"/api/v1/datasets/{name}/{path}", json=records, **options)

    def job(self, answer: Any) -> Job:
        """Run everything and return the job that the answer accepted."""
        assert answer.status_code in (200, 202), answer.text
        self.work()
        found: Job = self.http.get(answer.json()["links"]["self"]).json()
        assert found["done"], found
        return found

    def key(self, name: str, key: Any) -> str:
        text = key if isinstance(key, str) else json.dumps(key)
        return f"/api/v1/datasets/{name}/records/{urllib.parse.quote(text, safe='')}"

    def rows(self, name: str) -> list[Job]:
        answer = self.http.get(f"/api/v1/datasets/{name}/records?page_size=1000")
        assert answer.status_code == 200, answer.text
        records: list[Job] = answer.json()["records"]
        return records
