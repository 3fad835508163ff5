"""Stored exports in one process: what the job makes, how its file is read, and when it goes."""

import base64
import hashlib
import io
import json
import time
import uuid
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
from tests.support.in_process import InProcess, Job

from gristmill.core.database import Database
from gristmill.records.export.stored.expiry import ExportExpiry

FIELDS = [{"name": "id", "type": "integer", "required": True}, {"name": "note", "type": "text"}]
CONTRACT = {"fields": FIELDS, "key": ["id"]}
ROWS = 200


class Mill(InProcess):
    """With a storage, and workers of both queues."""

    def __init__(self, url: str, folder: Path, **options: Any) -> None:
        super().__init__(url, storage_url=str(folder), **options)
        self.folder = folder

    def run(self, answer: Any) -> Job:
        assert answer.status_code in (200, 202), answer.text
        self.work()
        self.work(queue="long")
        found: Job = self.http.get(answer.json()["links"]["self"]).json()
        return found

    def filled(self) -> str:
        name = self.dataset(CONTRACT)
        self.job(self.post(name, [{"id": n, "note": f"n{n}"} for n in range(ROWS)]))
        return name

    def ask(self, name: str, **body: Any) -> Any:
        return self.http.post(f"/api/v1/datasets/{name}/exports", json=body)

    def export(self, name: str, **body: Any) -> Job:
        job = self.run(self.ask(name, **body))
        assert job["state"] == "succeeded", job
        result: Job = job["result"]
        return result

    def read(self, result: Job, **headers: str) -> Any:
        return self.http.get(result["link"], headers=headers)

    def expire(self) -> int:
        """Run the maintenance and the job that it submits."""
        made = self.maintain()
        self.work(queue="long")
        return made

    def maintain(self) -> int:
        return ExportExpiry(self.gristmill.database, grace=0, retention_days=30, max_attempts=5).run()


@pytest.fixture
def mill(database_url: str, tmp_path: Path) -> Iterator[Mill]:
    folder = tmp_path / "files"
    folder.mkdir()
    found = Mill(database_url, folder, export_grace=0)
    yield found
    found.gristmill.database.close()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


class TestCreate:
    def test_the_job_says_size_checksum_rows_expiry_and_where_the_file_is(self, mill: Mill) -> None:
        name = mill.filled()
        result = mill.export(name, format="csv", where={"id": {"lt": 10}}, fields=["note", "id"])
        body = mill.read(result)
        assert body.text.splitlines() == ["note,id", *(f"n{n},{n}" for n in range(10))]
        assert (result["rows"], result["bytes"]) == (10, len(body.content))
        assert result["sha256"] == hashlib.sha256(body.content).hexdigest()
        assert result["link"] == f"/api/v1/exports/{result['export']}/{name}.csv"
        one = mill.http.get(f"/api/v1/exports/{result['export']}").json()
        assert one["links"]["file"] == result["link"]
        assert {key: one[key] for key in ("bytes", "sha256", "rows", "expires_at")} == {
            key: result[key] for key in ("bytes", "sha256", "rows", "expires_at")
        }

    @pytest.mark.parametrize("format", ["csv", "ndjson", "parquet", "arrow"])
    def test_the_file_is_that_of_the_stream(self, mill: Mill, format: str) -> None:
        name = mill.filled()
        stored = mill.read(mill.export(name, format=format))
        streamed = mill.http.get(f"/api/v1/datasets/{name}/export", params={"format": format})
        assert stored.content == streamed.content
        assert stored.headers["content-type"] == streamed.headers["content-type"]

    def test_an_empty_selection_is_a_whole_file(self, mill: Mill) -> None:
        result = mill.export(mill.filled(), where={"id": {"lt": 0}})
        assert result["rows"] == 0
        assert pyarrow.parquet.read_table(io.BytesIO(mill.read(result).content)).num_rows == 0

    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({"format": "xlsx"}, "/format", "bad_value"),
            ({"format": {}}, "/format", "bad_value"),
            ({"where": []}, "/where", None),
            ({"start": 1}, "/start", "bad_value"),
            ({"fields": []}, "/fields", "bad_value"),
            ({"fields": ["id", "id"]}, "/fields", "duplicate"),
            ({"fields": ["id", "nope"]}, "/fields", "unknown_field"),
            ({"fields": ["id,note"]}, "/fields", "unknown_field"),
            ({"fields": "id"}, "/fields", "bad_value"),
            ({"where": {"nope": 1}}, "/where/nope", "unknown_field"),
            ({"keep": "8d"}, "/keep", "bad_value"),
            ({"keep": 7}, "/keep", "bad_value"),
            ({"include": ["vectors"]}, "/include", "bad_value"),
            ({"order": "id"}, "/order", "unknown_member"),
            ({"start": "2026-01-01T00:00:00Z"}, "/start", None),
        ],
    )
    def test_a_bad_request_names_the_place_and_makes_no_job(
        self, mill: Mill, body: Job, pointer: str, code: str | None
    ) -> None:
        name = mill.filled()
        answer = mill.ask(name, **body)
        assert answer.status_code == 422, answer.text
        (error,) = answer.json()["errors"]
        assert error["pointer"] == pointer
        assert code in (None, error["code"])
        assert mill.http.get("/api/v1/jobs", params={"type": "exports.create"}).json()["jobs"] == []

    def test_without_a_storage_it_is_refused_with_the_setting(self, database_url: str) -> None:
        mill = InProcess(database_url)
        name = mill.dataset(CONTRACT)
        mill.work()
        answer = mill.http.post(f"/api/v1/datasets/{name}/exports", json={})
        assert (answer.status_code, answer.json()["code"]) == (409, "no_file_storage")
        assert "storage.url" in answer.json()["detail"]
        mill.gristmill.database.close()

    def test_the_same_key_gives_the_same_job(self, mill: Mill) -> None:
        name = mill.filled()
        headers = {"Idempotency-Key": uuid.uuid4().hex}
        path = f"/api/v1/datasets/{name}/exports"
        first, second = (mill.http.post(path, json={}, headers=headers) for _ in range(2))
        assert first.json()["id"] == second.json()["id"]
        other = mill.http.post(path, json={"format": "csv"}, headers=headers)
        assert other.json()["code"] == "idempotency_key_reused"

    def test_over_the_limit_of_all_exports_another_one_is_refused(self, database_url: str, tmp_path: Path) -> None:
        mill = Mill(database_url, tmp_path, export_max_stored_bytes=1024 * 1024)
        name = mill.filled()
        result = mill.export(name)
        with mill.gristmill.database.transaction() as connection:
            connection.exec_driver_sql("UPDATE gristmill.exports SET bytes = 1024 * 1024")
        answer = mill.ask(name)
        assert (answer.status_code, answer.json()["code"]) == (429, "exports_full")
        mill.run(mill.http.delete(f"/api/v1/exports/{result['export']}"))
        assert mill.ask(name).status_code == 202


class TestRead:
    @pytest.fixture
    def stored(self, mill: Mill) -> Job:
        return mill.export(mill.filled(), format="ndjson")

    def test_headers_say_what_the_file_is(self, mill: Mill, stored: Job) -> None:
        whole = mill.read(stored)
        digest = base64.b64encode(hashlib.sha256(whole.content).digest()).decode()
        assert whole.headers["repr-digest"] == f"sha-256=:{digest}:"
        assert whole.headers["accept-ranges"] == "bytes"
        assert int(whole.headers["content-length"]) == stored["bytes"]
        assert "content-encoding" not in whole.headers
        assert whole.headers["content-disposition"].endswith('.ndjson"')
        expires = parsedate_to_datetime(whole.headers["expires"]).isoformat()
        assert stored["expires_at"].startswith(expires.removesuffix("+00:00"))
        head = mill.http.head(stored["link"])
        different = {"x-request-id", "date"}
        assert {k: v for k, v in head.headers.items() if k not in different} == {
            k: v for k, v in whole.headers.items() if k not in different
        }
        assert head.content == b""

    def test_a_range_is_a_part_and_several_are_a_multipart(self, mill: Mill, stored: Job) -> None:
        whole = mill.read(stored).content
        part = mill.read(stored, range="bytes=10-19")
        assert (part.status_code, part.content) == (206, whole[10:20])
        assert part.headers["content-range"] == f"bytes 10-19/{len(whole)}"
        assert mill.read(stored, range="bytes=-5").content == whole[-5:]
        several = mill.read(stored, range="bytes=0-4, 50-59,-1")
        assert several.status_code == 206
        kind, _, boundary = several.headers["content-type"].partition("; boundary=")
        assert kind == "multipart/byteranges"
        parts = several.content.split(f"--{boundary}".encode())[1:-1]
        assert [part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n") for part in parts] == [
            whole[:5], whole[50:60], whole[-1:],
        ]  # fmt: skip
        assert f"bytes 50-59/{len(whole)}".encode() in parts[1]
        assert int(several.headers["content-length"]) == len(several.content)

    def test_what_is_not_there_is_a_416_and_what_is_no_range_is_ignored(self, mill: Mill, stored: Job) -> None:
        answer = mill.read(stored, range=f"bytes={stored['bytes']}-")
        assert (answer.status_code, answer.json()["code"]) == (416, "range_not_satisfiable")
        assert answer.headers["content-range"] == f"bytes */{stored['bytes']}"
        many = mill.read(stored, range="bytes=" + ",".join(f"{n * 3}-{n * 3}" for n in range(65)))
        assert many.status_code == 416
        assert "at most 64" in many.json()["detail"]
        for header in ("rows=1-2", "bytes=5-2", "bytes=a-b", "bytes=-"):
            assert mill.read(stored, range=header).status_code == 200

    def test_conditions(self, mill: Mill, stored: Job) -> None:
        whole = mill.read(stored)
        tag, modified = whole.headers["etag"], whole.headers["last-modified"]
        assert mill.read(stored, **{"if-none-match": tag}).status_code == 304
        assert mill.read(stored, **{"if-match": '"other"'}).status_code == 412
        for condition, status in ((tag, 206), (modified, 206), ('"other"', 200), (f"W/{tag}", 200)):
            assert mill.read(stored, **{"range": "bytes=0-0", "if-range": condition}).status_code == status

    def test_unknown_exports_and_files_are_404(self, mill: Mill, stored: Job) -> None:
        for path in (f"/api/v1/exports/{uuid.uuid4()}", "/api/v1/exports/x", f"{stored['link']}x"):
            answer = mill.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_export")


class TestLinks:
    @pytest.fixture
    def keyed(self, database_url: str, tmp_path: Path) -> Iterator[Mill]:
        mill = Mill(database_url, tmp_path)
        self.result = mill.export(mill.filled())
        link = mill.http.post(f"/api/v1/exports/{self.result['export']}/link", json={"expires_in": 60})
        assert link.status_code == 200, link.text
        self.path: str = link.json()["path"]
        mill.gristmill.database.close()
        found = Mill(database_url, tmp_path, api_require_key=True)
        yield found
        found.gristmill.database.close()

    def test_a_link_opens_its_file_without_a_key_and_nothing_else(self, keyed: Mill) -> None:
        assert keyed.http.get(self.result["link"]).status_code == 401
        assert keyed.http.get(self.path).status_code == 200
        assert keyed.http.get(self.path, headers={"range": "bytes=0-3"}).content == b"PAR1"
        query = self.path.partition("?")[2]
        assert keyed.http.get(f"/api/v1/exports/{self.result['export']}?{query}").status_code == 422
        export = f"/api/v1/exports/{self.result['export']}"
        assert keyed.http.delete(f"{export}?{query}").status_code == 422
        assert keyed.http.delete(export).status_code == 401
        body = {"headers": {"content-type": "application/json"}, "content": b"{}"}
        assert keyed.http.post(f"{export}/link?{query}", **body).status_code == 422
        assert keyed.http.get(f"/api/v1/exports?{query}").status_code == 401
        assert keyed.http.get(self.path).status_code == 200
        assert keyed.http.get(f"/api/v1/jobs?{query}").status_code == 401

    def test_a_changed_or_expired_link_opens_nothing(self, keyed: Mill, monkeypatch: pytest.MonkeyPatch) -> None:
        for path in (
            self.path[:-1] + ("A" if self.path[-1] != "A" else "B"),
            self.path.replace("expires=", "expires=9"),
        ):
            answer = keyed.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (403, "bad_link")
        now = time.time()
        monkeypatch.setattr("gristmill.records.export.stored.links.time.time", lambda: now + 61)
        answer = keyed.http.get(self.path)
        assert (answer.status_code, "expired" in answer.json()["detail"]) == (403, True)


class TestEnd:
    def test_the_list_shows_what_can_be_read_newest_first(self, mill: Mill) -> None:
        one, two = mill.filled(), mill.filled()
        made = [mill.export(name, format="csv")["export"] for name in (one, two, one)]
        page = mill.http.get("/api/v1/exports", params={"page_size": 2}).json()
        assert [body["id"] for body in page["exports"]] == made[:0:-1]
        rest = mill.http.get("/api/v1/exports", params={"page_size": 2, "page_token": page["next_page_token"]}).json()
        assert ([body["id"] for body in rest["exports"]], rest["next_page_token"]) == (made[:1], None)
        of_one = mill.http.get("/api/v1/exports", params={"dataset": one}).json()["exports"]
        assert [body["id"] for body in of_one] == [made[2], made[0]]

    def test_deleted_it_is_gone_at_once_and_its_file_with_the_job(self, mill: Mill) -> None:
        result = mill.export(mill.filled())
        answer = mill.http.delete(f"/api/v1/exports/{result['export']}")
        gone = mill.read(result)
        assert (gone.status_code, gone.json()["code"]) == (410, "export_expired")
        assert mill.run(answer)["state"] == "succeeded"
        assert files(mill.folder) == ["gristmill.id"]
        again = mill.http.delete(f"/api/v1/exports/{result['export']}")
        assert (again.status_code, "was deleted" in again.json()["detail"]) == (410, True)
        assert mill.http.get("/api/v1/exports").json()["exports"] == []

    def test_expired_it_says_when_and_its_file_goes_by_maintenance(self, mill: Mill, database: Database) -> None:
        result, other = (mill.export(mill.filled()) for _ in range(2))
        self.expire_now(mill, result)
        answer = mill.read(result)
        assert (answer.status_code, "expired at" in answer.json()["detail"]) == (410, True)
        assert mill.expire() == 1
        assert [name.split("/")[1] for name in files(mill.folder) if name != "gristmill.id"] == [other["export"]]
        assert mill.expire() == 0
        assert mill.read(other).status_code == 200

    def test_a_file_that_is_read_while_it_goes_is_read_to_its_end(self, mill: Mill) -> None:
        result = mill.export(mill.filled(), format="ndjson")
        found = mill.services.stored_exports.open(result["export"], result["link"].rpartition("/")[2], None)
        self.expire_now(mill, result)
        mill.expire()
        assert files(mill.folder) == ["gristmill.id"]
        data = found.source.read(0, found.source.size)
        found.source.close()
        assert hashlib.sha256(data).hexdigest() == result["sha256"]

    def test_what_a_cancelled_job_left_goes_too(self, mill: Mill) -> None:
        name = mill.filled()
        job = mill.ask(name).json()
        left = mill.folder / "exports" / job["id"] / ".1.parquet.aa"
        left.parent.mkdir(parents=True)
        left.write_bytes(b"half")
        foreign = mill.folder / "exports" / str(uuid.uuid4()) / "1.csv"
        foreign.parent.mkdir()
        foreign.write_bytes(b"x")
        with mill.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(
                "INSERT INTO gristmill.exports (id, dataset, format, file_name, keep_seconds, secret)"
                " VALUES (%s, 'x', 'csv', 'x.csv', 1, '')",
                (job["id"],),
            )
        assert mill.maintain() == 0  # its job is not done
        mill.http.post(f"/api/v1/jobs/{job['id']}/cancel")
        assert mill.expire() == 1
        assert files(mill.folder) == ["gristmill.id"]

    @staticmethod
    def expire_now(mill: Mill, result: Job) -> None:
        with mill.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(
                "UPDATE gristmill.exports SET expires_at = now() - interval '1 second' WHERE id = %s",
                (result["export"],),
            )


class TestAttempts:
    def test_a_file_that_was_complete_is_adopted_and_others_are_removed(self, mill: Mill) -> None:
        name = mill.filled()
        job = mill.ask(name, format="csv").json()
        folder = mill.folder / "exports" / job["id"]
        folder.mkdir(parents=True)
        content = b"id,note\n1,adopted\n"
        (folder / "0.csv").write_bytes(content)
        (folder / ".7.csv.bb").write_bytes(b"half")
        with mill.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(
                "INSERT INTO gristmill.exports"
                " (id, dataset, format, file_name, keep_seconds, secret, fence, bytes, sha256, rows, horizon)"
                " VALUES (%s, %s, 'csv', %s, 60, 's', 0, %s, %s, 1, '1')",
                (job["id"], name, f"{name}.csv", len(content), hashlib.sha256(content).digest()),
            )
        mill.work(queue="long")
        done = mill.http.get(f"/api/v1/jobs/{job['id']}").json()
        assert (done["state"], done["result"]["rows"]) == ("succeeded", 1)
        assert mill.read(done["result"]).content == content
        assert files(mill.folder) == [f"exports/{job['id']}/0.csv", "gristmill.id"]

    def test_a_file_that_is_not_as_it_was_noted_is_made_anew(self, mill: Mill) -> None:
        name = mill.filled()
        job = mill.ask(name, format="csv").json()
        with mill.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(
                "INSERT INTO gristmill.exports"
                " (id, dataset, format, file_name, keep_seconds, secret, fence, bytes, sha256, rows, horizon)"
                " VALUES (%s, %s, 'csv', %s, 60, 's', 0, 5, 'x', 1, '1')",
                (job["id"], name, f"{name}.csv"),
            )
        mill.work(queue="long")
        done = mill.http.get(f"/api/v1/jobs/{job['id']}").json()
        assert done["result"]["rows"] == ROWS

    def test_a_dataset_that_was_renamed_meanwhile_is_exported_under_its_name(self, mill: Mill) -> None:
        name = mill.filled()
        job = mill.ask(name, format="csv").json()
        other = f"{name}_new"
        answer = mill.http.post(f"/api/v1/datasets/{name}/rename", json={"name": other})
        assert answer.status_code == 202, answer.text
        mill.work()
        mill.work(queue="long")
        done = mill.http.get(f"/api/v1/jobs/{job['id']}").json()
        assert (done["state"], done["result"]["rows"]) == ("succeeded", ROWS)
        assert done["result"]["link"].endswith(f"/{other}.csv")

    def test_a_dropped_dataset_ends_the_job(self, mill: Mill) -> None:
        name = mill.filled()
        job = mill.ask(name).json()
        mill.http.delete(f"/api/v1/datasets/{name}", params={"confirm": name})
        mill.work()
        mill.work(queue="long")
        done = mill.http.get(f"/api/v1/jobs/{job['id']}").json()
        assert (done["state"], "dropped" in json.dumps(done["error"])) == ("cancelled", True)
        assert files(mill.folder) == ["gristmill.id"]
