"""What tests over HTTP say often: make a dataset, submit, wait for the job, read everything back."""

import itertools
import json
import uuid
from typing import Any
from urllib.parse import quote

import httpx

from tests.support.system import System

Json = dict[str, Any]
# For what must arrive as large as it is: httpx asks for compressed answers otherwise.
UNCOMPRESSED = {"accept-encoding": "identity"}
_numbers = itertools.count()


def new_name(prefix: str = "d") -> str:
    """A name that no other dataset has."""
    return f"{prefix}{next(_numbers)}_{uuid.uuid4().hex[:8]}"


class Rest:
    """A client of the REST interface that checks what every test expects."""

    def __init__(self, system: System, **options: Any) -> None:
        self.system = system
        self.http = system.http(**options)

    def __enter__(self) -> "Rest":
        return self

    def __exit__(self, *_: object) -> None:
        self.http.close()

    def create(self, contract: Json, name: str | None = None, wait: int = 30) -> str:
        """Create a dataset and, unless ``wait`` is 0, wait until its table is there; return its name."""
        name = name or new_name()
        answer = self.http.post("/api/v1/datasets", json={**contract, "name": name}, params={"wait": wait})
        assert answer.status_code == (200 if wait else 202), answer.text
        assert not wait or answer.json()["state"] == "succeeded", answer.text
        return name

    def post(self, name: str, records: Any, **options: Any) -> httpx.Response:
        """POST records: JSON unless they are bytes, whose Content-Type comes with the headers."""
        body = {"content": records} if isinstance(records, bytes) else {"json": records}
        return self.http.post(f"/api/v1/datasets/{name}/records", **body, **options)

    def store(self, name: str, records: list[Json]) -> Json:
        """Submit records, wait until they are stored and return the job."""
        return self.succeeded(self.post(name, records, params={"wait": 30}))

    def finished(self, answer: httpx.Response) -> Json:
        """Return the finished job that an answer accepted."""
        assert answer.status_code in (200, 202), answer.text
        job: Json = answer.json()
        while not job["done"]:
            job = self.http.get(job["links"]["self"], params={"wait": 30}).json()
        return job

    def succeeded(self, answer: httpx.Response) -> Json:
        job = self.finished(answer)
        assert job["state"] == "succeeded", job
        return job

    def rows(self, name: str, **parameters: Any) -> list[Json]:
        """Return all records, page by page."""
        found: list[Json] = []
        token: str | None = None
        while True:
            query = {"page_size": 1000, **parameters, **({"page_token": token} if token else {})}
            answer = self.http.get(f"/api/v1/datasets/{name}/records", params=query)
            assert answer.status_code == 200, answer.text
            page = answer.json()
            found += page["records"]
            token = page["next_page_token"]
            if token is None:
                return found

    def record(self, name: str, key: Any) -> str:
        """The path of one record: a composite key is a JSON array."""
        text = key if isinstance(key, str) else json.dumps(key)
        return f"/api/v1/datasets/{name}/records/{quote(text, safe='')}"
