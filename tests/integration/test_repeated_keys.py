"""Records of one request with one key: counted, or refused under on_conflict=fail, whatever the chunks and sizes."""

import io
import json
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.in_process import CSV, NDJSON, InProcess

ONE = {"fields": [{"name": "k", "type": "text", "required": True}, {"name": "v", "type": "integer"}], "key": ["k"]}
FAIL = {"on_conflict": "fail"}
KEYS = st.lists(st.sampled_from("abcdef"), min_size=1, max_size=12)


@pytest.fixture(params=[1, 2, 5])
def app(request: pytest.FixtureRequest, database_url: str) -> Iterator[InProcess]:
    """One whose chunks have as many records."""
    found = InProcess(database_url, jobs_chunk_records=request.param)
    with found.http:
        yield found
    found.gristmill.database.close()


def ndjson(keys: str | list[str]) -> bytes:
    return "\n".join(json.dumps({"k": key, "v": place}) for place, key in enumerate(keys)).encode()


def parquet(keys: str) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"k": list(keys)}), out)
    return out.getvalue()


class TestCounts:
    @given(keys=KEYS)
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    def test_superseded_counts_those_that_a_later_record_of_the_request_replaced(
        self, app: InProcess, keys: list[str]
    ) -> None:
        name = app.dataset(ONE)
        counts = app.job(app.post(name, ndjson(keys), headers=NDJSON))["record_counts"]
        left = len(set(keys))
        assert (counts["total"], counts["succeeded"], counts["superseded"]) == (len(keys), left, len(keys) - left)
        assert app.rows(name) == [{"k": k, "v": v} for k, v in sorted({k: v for v, k in enumerate(keys)}.items())]

    def test_a_record_of_a_later_job_between_two_chunks_supersedes_once(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        app.work()
        first = app.post(name, ndjson("abcdeabcdea"), headers=NDJSON)
        app.work(limit=1)
        app.job(app.post(name, ndjson("a"), headers=NDJSON))
        counts = app.job(first)["record_counts"]
        assert counts["succeeded"] + counts["superseded"] == 11
        assert [row["v"] for row in app.rows(name)] == [0, 6, 7, 8, 9]

    def test_the_first_and_the_last_of_many_lines(self, database_url: str) -> None:
        whole = InProcess(database_url)
        name = whole.dataset(ONE)
        body = ndjson([f"k{n % 20_000}" for n in range(20_001)])
        job = whole.job(whole.post(name, body, headers=NDJSON))
        assert job["chunks"]["total"] > 1
        assert (job["record_counts"]["succeeded"], job["record_counts"]["superseded"]) == (20_000, 1)


@pytest.mark.promise(4)
class TestFail:
    @given(keys=KEYS)
    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    def test_a_request_is_refused_exactly_when_a_key_comes_twice(self, app: InProcess, keys: list[str]) -> None:
        name = app.dataset(ONE)
        answer = app.post(name, ndjson(keys), headers=NDJSON, params=FAIL)
        repeated = [place for place, key in enumerate(keys) if key in keys[:place]]
        if not repeated:
            assert app.job(answer)["record_counts"]["succeeded"] == len(keys)
            return
        problem = answer.json()
        assert (answer.status_code, problem["errors_total"]) == (422, len(repeated))
        assert [(e["pointer"], e["code"], e["record"], e["line"]) for e in problem["errors"]] == [
            (f"/{place}/k", "repeated_key", place, place + 1) for place in repeated
        ]
        for error in problem["errors"]:
            first = keys.index(keys[error["record"]])
            assert f"record {first} (line {first + 1}) too" in error["reason"]
        assert app.rows(name) == []

    @pytest.mark.parametrize(
        ("body", "headers", "line", "first"),
        [
            (b'{"k":"a"}\n\n{"k":"b"}\n \n{"k":"a"}\n', NDJSON, 5, " (line 1)"),
            (b'k,v\n"a",1\n\nb,2\n"a",3\n', CSV, 5, " (line 2)"),
            (b'v,k\n1,"a\nb"\n2,c\n3,"a\nb"\n', CSV, 5, " (line 2)"),
            (b'[{"k":"a"},{"k":"b"},{"k":"a"}]', {"content-type": "application/json"}, None, ""),
            (parquet("aba"), {"content-type": "application/vnd.apache.parquet"}, None, ""),
        ],
    )
    def test_both_lines_are_named_where_there_are_lines(
        self, app: InProcess, body: bytes, headers: dict[str, str], line: int | None, first: str
    ) -> None:
        name = app.dataset(ONE)
        answer = app.post(name, body, headers=headers, params=FAIL)
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["record"], error.get("line"), error["field"]) == (422, 2, line, "k")
        assert f"record 0{first} too" in error["reason"]

    @pytest.mark.parametrize(
        ("kind", "one", "other"),
        [("decimal", "1.0", "1.00"), ("decimal", "0", "-0.00"), ("decimal", "1E+2", "100")],
    )
    def test_keys_are_equal_as_postgres_says(self, app: InProcess, kind: str, one: str, other: str) -> None:
        fields = [{"name": "k", "type": kind, "required": True}, {"name": "v", "type": "integer"}]
        name = app.dataset({"fields": fields, "key": ["k"]})
        answer = app.post(name, [{"k": one, "v": 1}, {"k": other, "v": 2}], params=FAIL)
        assert (answer.status_code, answer.json()["errors"][0]["record"]) == (422, 1)

    def test_a_key_of_several_fields_is_named_whole(self, app: InProcess) -> None:
        name = app.dataset(
            {**ONE, "fields": [*ONE["fields"], {"name": "w", "type": "text", "required": True}], "key": ["k", "w"]}
        )
        answer = app.post(name, b'{"k":"a","w":"1"}\n{"k":"a","w":"1"}', headers=NDJSON, params=FAIL)
        (error,) = answer.json()["errors"]
        assert (error["pointer"], "field" in error) == ("/1", False)
        assert "['a', '1']" in error["reason"]

    def test_quarantine_does_not_choose_between_two(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        answer = app.post(name, ndjson("aba"), headers=NDJSON, params={**FAIL, "on_error": "quarantine"})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "repeated_key")

    def test_the_same_idempotency_key_is_answered_before_the_keys_are_compared(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        headers = {**NDJSON, "idempotency-key": f"once-{name}"}
        first = app.post(name, ndjson("abcdef"), headers=headers, params=FAIL)
        app.job(first)
        assert app.post(name, ndjson("abcdef"), headers=headers, params=FAIL).json()["id"] == first.json()["id"]

    def test_where_a_pipeline_decides_what_is_written_the_job_refuses(self, app: InProcess) -> None:
        drops = {"op": "filter", "where": {"v": {"null": False}}}
        name = app.dataset({**ONE, "pipeline": [drops]})
        app.work()
        kept = app.job(app.post(name, [{"k": "a"}, {"k": "a", "v": 1}], params=FAIL))
        assert (kept["state"], kept["record_counts"]["dropped"]) == ("succeeded", 1)
        job = app.job(app.post(name, [{"k": "b", "v": 1}, {"k": "b", "v": 2}], params=FAIL))
        assert (job["state"], job["error"]["code"]) == ("failed", "key_exists")
        assert "request" in job["error"]["detail"] or "record 0 has the key" in job["error"]["detail"]

    def test_many_keys_are_compared_in_the_transaction_that_submits(self, database_url: str) -> None:
        whole = InProcess(database_url)
        name = whole.dataset(ONE)
        keys = [f"k{n}" for n in range(20_001)]
        assert whole.job(whole.post(name, ndjson(keys), headers=NDJSON, params=FAIL))["state"] == "succeeded"
        answer = whole.post(name, ndjson([f"n{n % 20_000}" for n in range(20_001)]), headers=NDJSON, params=FAIL)
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["record"], error["line"]) == (422, 20_000, 20_001)
        assert "record 0 (line 1)" in error["reason"]
