"""Quarantine and deletion by age, with all processes running: what a data engineer does, from the file to the rows."""

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.rest import Json, Rest
from tests.support.system import System, eventually

from gristmill.client import Client

PARTS: Json = {
    "fields": [
        {"name": "k", "type": "integer", "required": True},
        {"name": "version", "type": "integer", "required": True},
        {"name": "note", "type": "text", "max_length": 100},
    ],
    "key": ["k"],
}
EVENTS: Json = {
    "fields": [
        {"name": "k", "type": "text", "required": True},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "n", "type": "integer"},
    ],
    "key": ["k"],
    "time_field": "at",
    "keep": "7d",
}


@pytest.mark.promise(4)
class TestQuarantine:
    def test_a_large_file_goes_in_without_its_bad_records_which_follow_mended(
        self, rest: Rest, system: System, tmp_path: Path
    ) -> None:
        """30,000 rows in several chunks, every 97th bad; keys repeat, so the places among the good ones count."""
        name, rows = rest.create(PARTS), 30_000
        path = tmp_path / "parts.csv"
        with path.open("w", newline="") as file:
            out = csv.writer(file)
            out.writerow(["k", "version", "note"])
            for row in range(rows):
                out.writerow([row % 20_000, "bad" if row % 97 == 0 else row, f"row {row}, {'ä' * (row % 5)}"])
        bad = [row for row in range(rows) if row % 97 == 0]
        with Client(system.url) as client:
            job = client.submit(name, path, on_error="quarantine", wait=60)
            counts = job["record_counts"]
            assert (counts["total"], counts["rejected"]) == (rows, len(bad))
            assert counts["succeeded"] + counts["superseded"] == rows - len(bad)
            assert job["chunks"]["total"] > 1

            found = list(client.rejects(job["id"], page_size=100))
            assert [(item["record"], item["line"]) for item in found] == [(row, row + 2) for row in bad]
            assert all(item["values"]["version"] == "bad" for item in found)

            download = tmp_path / "bad.csv"
            client.download_rejects(job["id"], download)
            mended = list(csv.DictReader(io.StringIO(download.read_text())))
            # Whoever mends a record knows what it should have said.
            for row in mended:
                row["version"] = row["_record"]
            with download.open("w", newline="") as file:
                writer = csv.DictWriter(file, mended[0].keys())
                writer.writeheader()
                writer.writerows(mended)
            again = client.submit(name, download, retry_of=job["id"], wait=60)
            assert (again["retry_of"], again["record_counts"]["rejected"]) == (job["id"], 0)
            assert client.job(job["id"])["retried_by"] == [again["id"]]
        expected = {row % 20_000: row for row in range(rows) if row % 97}
        expected |= {row % 20_000: row for row in bad}  # They came later, whatever their place was.
        assert {row["k"]: row["version"] for row in rest.rows(name)} == expected
        notes = {row["version"]: row["note"] for row in rest.rows(name)}
        assert all(note == f"row {row}, {'ä' * (row % 5)}" for row, note in notes.items())

    def test_rejects_outlive_a_killed_worker_and_the_good_records_arrive(self, rest: Rest, system: System) -> None:
        name = rest.create(PARTS)
        lines = [json.dumps({"k": k, "version": k if k % 2 else "x"}) for k in range(2000)]
        system.kill("worker")
        try:
            headers = {"content-type": "application/x-ndjson"}
            answer = rest.post(name, "\n".join(lines).encode(), params={"on_error": "quarantine"}, headers=headers)
            assert answer.status_code == 202
            assert answer.json()["record_counts"]["rejected"] == 1000, "known before any worker has run"
            listed = rest.http.get(answer.json()["links"]["rejects"], params={"format": "ndjson"}).text.splitlines()
            assert [json.loads(line)["record"] for line in listed] == list(range(0, 2000, 2))
        finally:
            system.start("worker")
        assert rest.succeeded(answer)["record_counts"]["succeeded"] == 1000
        assert {row["k"] for row in rest.rows(name)} == set(range(1, 2000, 2))


@pytest.fixture
def quick(system: System) -> Iterator[None]:
    """The dispatcher looks for old records all the time."""
    system.terminate("dispatcher")
    system.start("dispatcher", jobs_expire_every=0.2)
    yield
    system.terminate("dispatcher")
    system.start("dispatcher")


@pytest.mark.usefixtures("quick")
class TestDeletionByAge:
    def test_old_records_go_by_themselves_while_writers_write(self, rest: Rest) -> None:
        """Records old and young, replaced again and again by others: at the end exactly the young ones are there."""
        now = datetime.now(UTC)
        name = rest.create(EVENTS)
        last: dict[str, tuple[int, bool]] = {}
        answers = []
        for n in range(60):
            records = []
            for place in range(100):
                key, old = f"{(n * 37 + place * 11) % 400}", (n + place) % 3 == 0
                at = now - (timedelta(days=8) if old else timedelta(days=1))
                records.append({"k": key, "at": at.isoformat(), "n": n})
                last[key] = (n, old)
            answers.append(rest.post(name, records))
        for answer in answers:
            rest.succeeded(answer)
        young = {key: n for key, (n, old) in last.items() if not old}
        eventually(lambda: len(rest.rows(name)) == len(young), "only the young ones are left")
        assert {row["k"]: row["n"] for row in rest.rows(name)} == young
        shown = rest.http.get(f"/api/v1/datasets/{name}").json()["retention"]
        assert shown["deleted"] >= len(last) - len(young)
        jobs = rest.http.get("/api/v1/jobs", params={"type": "records.expire", "dataset": name}).json()["jobs"]
        assert jobs
        assert {job["state"] for job in jobs} <= {"succeeded", "running", "queued"}
