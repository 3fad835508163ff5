"""Quarantine from the REST call to the rows: rejects stored with their job, listed, downloaded, mended, sent again."""

import base64
import csv
import gzip
import io
import json
import tracemalloc
import uuid
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from tests.support.in_process import CSV, NDJSON, InProcess, Job

from gristmill.jobs.maintenance.cleanup import prune
from gristmill.records.rejects.cleanup import RejectCleanup

PARTS = {
    "fields": [
        {"name": "k", "type": "text", "required": True},
        {"name": "n", "type": "integer", "maximum": 10},
        {"name": "note", "type": "text"},
        {"name": "j", "type": "json"},
    ],
    "key": ["k"],
}
QUARANTINE = {"on_error": "quarantine"}
# Good, bad, good, bad, good.
GOOD = [{"k": "a", "n": 1}, {"k": "c", "n": 3}, {"k": "e", "n": 5}]
SENT = [GOOD[0], {"k": "b", "n": 99, "note": 'x, "y"'}, GOOD[1], {"n": 4}, GOOD[2]]


def as_arrow() -> pa.Table:
    columns = {
        "k": pa.array([record.get("k") for record in SENT], pa.string()),
        "n": pa.array([record.get("n") for record in SENT], pa.int64()),
        "note": pa.array([record.get("note") for record in SENT], pa.string()),
    }
    return pa.table(columns)


def parquet() -> bytes:
    file = io.BytesIO()
    pyarrow.parquet.write_table(as_arrow(), file)
    return file.getvalue()


def stream() -> bytes:
    file = io.BytesIO()
    with pa.ipc.new_stream(file, as_arrow().schema) as writer:
        writer.write_table(as_arrow())
    return file.getvalue()


BODIES = {
    "application/json": json.dumps(SENT).encode(),
    "application/x-ndjson": b"\n".join(json.dumps(record).encode() for record in SENT),
    "text/csv": b'k,n,note\na,1,\nb,99,"x, ""y"""\nc,3,\n,4,\ne,5,\n',
    "application/vnd.apache.parquet": parquet(),
    "application/vnd.apache.arrow.stream": stream(),
}


@pytest.fixture
def app(database_url: str) -> Iterator[InProcess]:
    found = InProcess(database_url, jobs_max_rejects=1000)
    with found.http:
        yield found
    found.gristmill.database.close()


def submit(app: InProcess, name: str, body: bytes, kind: str, **parameters: Any) -> Job:
    answer = app.post(name, body, headers={"content-type": kind}, params={**QUARANTINE, **parameters})
    return app.job(answer)


def rejects(app: InProcess, job: Job, **parameters: Any) -> list[Job]:
    answer = app.http.get(job["links"]["rejects"], params=parameters)
    assert answer.status_code == 200, answer.text
    found: list[Job] = answer.json()["rejects"]
    return found


def downloaded(app: InProcess, job: Job) -> list[dict[str, str]]:
    """The rejects as a program reads the CSV."""
    text = app.http.get(job["links"]["rejects"], params={"format": "csv"}).text
    return list(csv.DictReader(io.StringIO(text)))


def kept(app: InProcess, name: str) -> list[tuple[str, Any]]:
    return [(row["k"], row["n"]) for row in app.rows(name)]


def count(app: InProcess, query: str) -> Any:
    with app.gristmill.database.autocommit() as connection:
        return connection.exec_driver_sql(query).scalar_one()


@pytest.mark.promise(4)
class TestQuarantine:
    @pytest.mark.parametrize("kind", BODIES)
    def test_good_records_go_on_and_bad_ones_are_kept_with_their_errors(self, app: InProcess, kind: str) -> None:
        name = app.dataset(PARTS)
        job = submit(app, name, BODIES[kind], kind)
        assert job["state"] == "succeeded"
        assert job["record_counts"] == {"total": 5, "succeeded": 3, "rejected": 2, "superseded": 0, "dropped": 0}
        assert kept(app, name) == [("a", 1), ("c", 3), ("e", 5)]
        first, second = rejects(app, job)
        assert (first["record"], second["record"]) == (1, 3)
        assert [(place["field"], place["code"], place["record"]) for place in first["errors"]] == [
            ("n", "out_of_range", 1)
        ]
        assert [place["field"] for place in second["errors"]] == ["k"]
        assert first["values"]["note"] == 'x, "y"'
        assert first["raw_encoding"] == "utf-8"
        # The records that went on keep the places that they had in the request.
        assert count(app, f"SELECT array_agg(_ord ORDER BY k) FROM data.{name}") == [0, 2, 4]

    def test_raw_is_what_was_sent_byte_by_byte(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        lines = [b'{"k":"a", "n": 1e99999,"x":1.10}', b'{"k":"\xff"}', b"{broken", b'{"k": "ok"}', b"[1, 2]"]
        job = submit(app, name, b"\n".join(lines), "application/x-ndjson")
        found = rejects(app, job)
        assert [item["line"] for item in found] == [1, 2, 3, 5]
        assert found[0]["raw"].encode() == lines[0]
        assert (base64.b64decode(found[1]["raw"]), found[1]["raw_encoding"]) == (lines[1], "base64")
        assert found[2]["raw"].encode() == lines[2]
        assert [item["values"] for item in found[1:]] == [None, None, None]
        assert b'"x":1.10' in app.http.get(job["links"]["rejects"]).content, "no digit is lost"
        assert kept(app, name) == [("ok", None)]

    def test_a_job_whose_records_are_all_bad_succeeds_with_none(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        job = submit(app, name, b'{"n":1}\n{"n":2}', "application/x-ndjson")
        assert job["state"] == "succeeded"
        assert job["record_counts"] == {"total": 2, "succeeded": 0, "rejected": 2, "superseded": 0, "dropped": 0}
        assert len(rejects(app, job)) == 2

    def test_a_body_without_errors_leaves_no_rejects(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        job = submit(app, name, b'{"k":"a"}', "application/x-ndjson")
        assert job["record_counts"]["rejected"] == 0
        assert "rejects" not in job["links"]
        answer = app.http.get(f"{job['links']['self']}/rejects")
        assert answer.json() == {"rejects": [], "next_page_token": None}

    def test_more_rejects_than_allowed_refuse_the_request_and_nothing_is_stored(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        app.work()
        jobs = count(app, "SELECT count(*) FROM gristmill.jobs")
        body = b'{"k":"good"}\n' + b'{"k":1}\n' * 1001
        answer = app.post(name, body, headers=NDJSON, params=QUARANTINE)
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["limit"]) == (422, "too_many_rejects", 1000)
        assert len(problem["errors"]) == 100
        assert problem["errors"][0]["pointer"] == "/1/k"
        assert count(app, "SELECT count(*) FROM gristmill.rejects") == 0
        assert count(app, "SELECT count(*) FROM gristmill.jobs") == jobs
        assert app.services.spool.used == 0
        at_most = b'{"k":"good"}\n' + b'{"k":1}\n' * 1000
        assert submit(app, name, at_most, "application/x-ndjson")["record_counts"]["rejected"] == 1000

    @pytest.mark.parametrize(
        ("body", "kind", "code"),
        [
            (b'[{"k":"a"},', "application/json", "malformed"),
            (b"k,colour\na,1\n", "text/csv", "unknown_field"),
            (b'k,"n\na,1\n', "text/csv", "malformed"),
            (parquet()[:200], "application/vnd.apache.parquet", None),
            (b"", "application/x-ndjson", "empty"),
        ],
    )
    def test_what_cannot_be_read_refuses_the_whole_request(
        self, app: InProcess, body: bytes, kind: str, code: str | None
    ) -> None:
        name = app.dataset(PARTS)
        answer = app.post(name, body, headers={"content-type": kind}, params=QUARANTINE)
        assert answer.status_code in (400, 422), answer.text
        assert code is None or answer.json()["errors"][0]["code"] == code
        assert count(app, "SELECT count(*) FROM gristmill.rejects") == 0

    def test_a_conflict_of_keys_stays_an_error_of_the_job(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        submit(app, name, b'{"k":"a"}', "application/x-ndjson")
        body = b'{"k":1}\n{"k":"b"}\n{"k":"a"}'
        answer = app.post(name, body, headers=NDJSON, params={**QUARANTINE, "on_conflict": "fail"})
        assert (answer.status_code, answer.json()["code"], answer.json()["record"]) == (409, "key_exists", 2)

    def test_the_same_idempotency_key_stores_the_rejects_once(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        headers = {**NDJSON, "idempotency-key": uuid.uuid4().hex}
        answers = [app.post(name, b'{"k":1}\n{"k":"a"}', headers=headers, params=QUARANTINE) for _ in range(2)]
        assert answers[0].json()["id"] == answers[1].json()["id"]
        assert count(app, "SELECT count(*) FROM gristmill.rejects") == 1

    def test_an_unknown_way_is_refused_and_validate_has_none(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        answer = app.post(name, [], params={"on_error": "skip"})
        assert answer.status_code == 422
        assert "quarantine" in answer.json()["errors"][0]["reason"]
        answer = app.post(name, b"[]", path="validate", headers={"content-type": "application/json"}, params=QUARANTINE)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unknown_parameter")

    def test_memory_does_not_grow_with_the_rejects(self, database_url: str) -> None:
        app = InProcess(database_url)
        with app.http:
            name = app.dataset(PARTS)
            line = b'{"k":"%s","n":"no number"}\n' % (b"x" * 10_000)
            peaks = []
            for lines in (100, 2_000):
                tracemalloc.start()
                answer = app.post(name, line * lines, headers=NDJSON, params=QUARANTINE)
                peaks.append(tracemalloc.get_traced_memory()[1] - len(line) * lines)
                tracemalloc.stop()
                assert answer.status_code == 202, answer.text
        app.gristmill.database.close()
        # The test's own client holds the body (and what it makes of it); 19 MB of rejects must not be there again.
        assert peaks[1] - peaks[0] < 8_000_000, peaks


class TestReading:
    def test_pages_give_every_reject_once(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        job = submit(app, name, b'{"k":1}\n{"k":"good"}\n' * 25, "application/x-ndjson")
        found, token = [], None
        while True:
            query = {"page_size": 7, **({"page_token": token} if token else {})}
            page = app.http.get(job["links"]["rejects"], params=query).json()
            found += [item["record"] for item in page["rejects"]]
            token = page["next_page_token"]
            if token is None:
                break
        assert found == list(range(0, 50, 2))

    def test_large_rejects_end_a_page_early_and_none_is_lost(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        lines = [json.dumps({"k": "x" * 3_000_000, "n": "bad"}) for _ in range(4)]
        job = submit(app, name, "\n".join(lines).encode(), "application/x-ndjson")
        page = app.http.get(job["links"]["rejects"]).json()
        assert len(page["rejects"]) == 1, "4 MiB are a page"
        assert page["next_page_token"]
        lines = app.http.get(job["links"]["rejects"], params={"format": "ndjson"}).text.splitlines()
        assert [json.loads(line)["record"] for line in lines] == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        ("query", "status", "code"),
        [
            ({"page_token": "x"}, 400, "bad_page_token"),
            ({"page_size": 0}, 422, None),
            ({"format": "xml"}, 422, None),
            ({"format": "csv", "page_size": 5}, 422, "not_applicable"),
            ({"pages": 5}, 422, "unknown_parameter"),
        ],
    )
    def test_bad_queries_are_refused(self, app: InProcess, query: Any, status: int, code: str | None) -> None:
        name = app.dataset(PARTS)
        job = submit(app, name, b'{"k":1}', "application/x-ndjson")
        answer = app.http.get(job["links"]["rejects"], params=query)
        assert answer.status_code == status, answer.text
        assert code is None or answer.json()["errors"][0]["code"] == code

    @pytest.mark.parametrize("job_id", ["0192f0c2-7d3a-7000-8000-0123456789ab", "nothing"])
    def test_an_unknown_job_is_not_found(self, app: InProcess, job_id: str) -> None:
        for query in ({}, {"format": "csv"}, {"format": "ndjson"}):
            answer = app.http.get(f"/api/v1/jobs/{job_id}/rejects", params=query)
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_job")

    @pytest.mark.parametrize("kind", BODIES)
    def test_the_csv_has_the_fields_and_notes_whatever_the_format_was(self, app: InProcess, kind: str) -> None:
        name = app.dataset(PARTS)
        job = submit(app, name, BODIES[kind], kind)
        answer = app.http.get(job["links"]["rejects"], params={"format": "csv"})
        assert answer.headers["content-disposition"] == f'attachment; filename="{name}-{job["id"]}-rejects.csv"'
        first, second = downloaded(app, job)
        assert list(first) == ["k", "n", "note", "j", "_record", "_line", "_errors", "_raw"]
        assert (first["k"], first["n"], first["note"], first["_record"]) == ("b", "99", 'x, "y"', "1")
        assert first["_errors"].startswith("n: 99 is not")
        assert (second["k"], second["n"], second["_record"], second["_raw"]) == ("", "4", "3", "")

    def test_what_fits_no_column_stands_in_raw(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        body = b"k,n\na,1,2\n" + b'b"c"d,3\n' + b"\xff,1\n"
        job = submit(app, name, body, "text/csv")
        rows = list(csv.DictReader(io.StringIO(app.http.get(job["links"]["rejects"], params={"format": "csv"}).text)))
        assert [(row["k"], row["_raw"]) for row in rows] == [("", "a,1,2"), ("", 'b"c"d,3'), ("", "\\xff,1")]
        job = submit(app, name, b'{"k":"a","colour":"red"}\n{"k":"b"', "application/x-ndjson")
        rows = list(csv.DictReader(io.StringIO(app.http.get(job["links"]["rejects"], params={"format": "csv"}).text)))
        assert [(row["k"], row["_raw"]) for row in rows] == [("a", '{"k":"a","colour":"red"}'), ("", '{"k":"b"')]


class TestSendingAgain:
    @pytest.mark.parametrize("kind", BODIES)
    def test_a_downloaded_csv_is_mended_and_sent_back_as_it_is(self, app: InProcess, kind: str) -> None:
        name = app.dataset(PARTS)
        job = submit(app, name, BODIES[kind], kind)
        text = app.http.get(job["links"]["rejects"], params={"format": "csv"}).text
        rows = list(csv.reader(io.StringIO(text)))
        rows[1][1], rows[2][0] = "9", "d"
        mended = io.StringIO()
        csv.writer(mended).writerows(rows)
        answer = app.post(name, mended.getvalue().encode(), headers=CSV, params={"retry_of": job["id"]})
        again = app.job(answer)
        assert (again["state"], again["retry_of"]) == ("succeeded", job["id"])
        assert app.http.get(job["links"]["self"]).json()["retried_by"] == [again["id"]]
        assert kept(app, name) == [("a", 1), ("b", 9), ("c", 3), ("d", 4), ("e", 5)]
        assert app.http.get(app.key(name, "b")).json()["note"] == 'x, "y"'

    def test_values_can_be_mended_as_json(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        job = submit(app, name, b'{"k":"a","n":11,"j":{"x":[1.10,12345678901234567890123]}}', "application/x-ndjson")
        (reject,) = rejects(app, job)
        mended = {**reject["values"], "n": 10, "j": {"x": [1]}}
        again = app.job(app.post(name, [mended], params={"retry_of": job["id"], **QUARANTINE}))
        assert again["record_counts"]["rejected"] == 0
        assert app.rows(name) == [{"k": "a", "n": 10, "note": None, "j": {"x": [1]}}]

    def test_what_was_not_mended_is_refused_again(self, app: InProcess) -> None:
        name = app.dataset({"fields": [{"name": "t", "type": "text"}]})
        job = submit(app, name, b"t\na,b\n", "text/csv")
        text = app.http.get(job["links"]["rejects"], params={"format": "csv"}).content
        answer = app.post(name, text, headers=CSV, params={"retry_of": job["id"]})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "not_mended")
        again = submit(app, name, text, "text/csv", retry_of=job["id"])
        assert again["record_counts"]["rejected"] == 1
        # What was in _raw is still there, so nothing is lost on the way round.
        assert app.http.get(again["links"]["rejects"], params={"format": "csv"}).text.endswith(',"a,b"\r\n')

    def test_without_retry_of_the_notes_are_unknown_columns(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        answer = app.post(name, b"k,_record\na,1\n", headers=CSV, params=QUARANTINE)
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unknown_field")

    def test_only_a_job_of_the_dataset_with_rejects_can_be_named(self, app: InProcess) -> None:
        name, other = app.dataset(PARTS), app.dataset(PARTS)
        good = submit(app, name, b'{"k":"a"}', "application/x-ndjson")
        bad = submit(app, other, b'{"k":1}', "application/x-ndjson")
        cases = {"x": "bad_parameter", str(uuid.uuid4()): "unknown_job", good["id"]: "no_rejects"}
        for job_id, code in {**cases, bad["id"]: "other_dataset"}.items():
            answer = app.post(name, b'{"k":"a"}', headers=NDJSON, params={"retry_of": job_id})
            assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, code)
            assert answer.json()["errors"][0]["pointer"] == "/query/retry_of"


class TestForgetting:
    def test_rejects_go_with_their_job_and_others_stay(self, app: InProcess) -> None:
        name = app.dataset(PARTS)
        old = submit(app, name, b'{"k":1}\n' * 5, "application/x-ndjson")
        young = submit(app, name, b'{"k":1}\n' * 3, "application/x-ndjson")
        cleanup = RejectCleanup(app.gristmill.database)
        assert cleanup.run() == 0
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(
                "UPDATE gristmill.jobs SET finished_at = now() - interval '31 days' WHERE id = %s", (old["id"],)
            )
        prune(app.gristmill.database, retention_days=30, idempotency_hours=24)
        assert cleanup.run() == 5
        assert cleanup.run() == 0
        assert app.http.get(f"/api/v1/jobs/{old['id']}/rejects").status_code == 404
        assert len(rejects(app, young)) == 3


def test_compressed_bodies_are_quarantined_too(app: InProcess) -> None:
    name = app.dataset(PARTS)
    headers = {**NDJSON, "content-encoding": "gzip"}
    answer = app.post(name, gzip.compress(BODIES["application/x-ndjson"]), headers=headers, params=QUARANTINE)
    assert app.job(answer)["record_counts"]["rejected"] == 2
