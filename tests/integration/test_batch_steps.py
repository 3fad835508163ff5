"""Pipelines with steps that take a batch as a whole: one chunk, counts, rejects, and what cannot be made anew."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from tests.support.in_process import NDJSON, InProcess

FIELDS: list[dict[str, Any]] = [
    {"name": "sensor", "type": "text", "required": True},
    {"name": "at", "type": "timestamp", "required": True},
    {"name": "n", "type": "integer"},
]
ROLLING = {
    "fields": [*FIELDS, {"name": "total", "type": "integer", "computed": True}],
    "key": ["sensor", "at"],
    "time_field": "at",
    "pipeline": [{"op": "rolling", "column": "n", "window": "10s", "agg": "sum", "as": "total", "by": ["sensor"]}],
}
GROUPED = {
    "input": ["sensor", *FIELDS[1:]],
    "fields": [
        {"name": "sensor", "type": "text"},
        {"name": "total", "type": "integer", "computed": True, "maximum": 1000},
        {"name": "records", "type": "integer", "computed": True},
    ],
    "pipeline": [
        {"op": "filter", "where": {"n": {"ge": 0}}},
        {
            "op": "group",
            "by": ["sensor"],
            "measures": [{"agg": "sum", "column": "n", "as": "total"}, {"agg": "count", "as": "records"}],
        },
        {"op": "filter", "where": {"sensor": {"ne": "dropped"}}},
    ],
}


def record(sensor: str, second: int, n: int | None = 1) -> dict[str, Any]:
    return {"sensor": sensor, "at": f"2026-01-31T12:00:{second:02}Z", "n": n}


@pytest.fixture
def small(database_url: str) -> Iterator[InProcess]:
    """Chunks of two records, batches of at most five."""
    found = InProcess(database_url, jobs_chunk_records=2, transforms_max_batch_records=5)
    with found.http:
        yield found
    found.gristmill.database.close()


class TestOneChunk:
    def test_a_batch_is_one_chunk_whatever_chunks_have_else(self, small: InProcess) -> None:
        name = small.dataset(ROLLING)
        job = small.job(small.post(name, [record("a", second, second) for second in range(5)]))
        assert job["chunks"]["total"] == 1
        assert [row["total"] for row in small.rows(name)] == [0, 1, 3, 6, 10]

    @pytest.mark.parametrize("options", [{}, {"on_error": "quarantine"}, {"on_conflict": "skip"}])
    def test_a_larger_request_is_refused_with_the_limit_and_nothing_is_stored(
        self, small: InProcess, options: dict[str, str]
    ) -> None:
        name = small.dataset(ROLLING)
        small.work()
        answer = small.post(name, [record("a", second) for second in range(6)], params=options)
        assert (answer.status_code, answer.json()["max_records"]) == (413, 5)
        assert "transforms.max_batch_records" in answer.json()["detail"]
        assert small.rows(name) == []
        assert small.work() == 0

    def test_so_is_a_body_that_is_read_while_it_is_staged(self, small: InProcess) -> None:
        name = small.dataset(ROLLING)
        small.work()
        lines = b"".join(json.dumps(record("a" * 200, n % 60, n)).encode() + b"\n" for n in range(8000))
        answer = small.post(name, lines, headers=NDJSON)
        assert (answer.status_code, answer.json()["max_records"]) == (413, 5)
        assert small.work() == 0

    def test_bytes_are_limited_too(self, database_url: str) -> None:
        app = InProcess(database_url, jobs_chunk_bytes=2048)
        with app.http:
            name = app.dataset(ROLLING)
            answer = app.post(name, [record("a" * 200, n) for n in range(20)])
            assert (answer.status_code, answer.json()["max_bytes"]) == (413, 2048)
            assert "jobs.chunk_bytes" in answer.json()["detail"]
        app.gristmill.database.close()

    def test_an_invalid_record_behind_the_limit_is_what_the_client_is_told(self, small: InProcess) -> None:
        name = small.dataset(ROLLING)
        answer = small.post(name, [record("a", 0), {"sensor": 1}, record("a", 2)])
        assert answer.status_code == 422


class TestCounts:
    def test_records_that_share_a_row_are_counted_each(self, app: InProcess) -> None:
        name = app.dataset(GROUPED)
        sent = [record("a", 0, 1), record("a", 1, 2), record("b", 2, 5), record("dropped", 3), record("a", 4, -1)]
        job = app.job(app.post(name, sent))
        assert app.rows(name) == [
            {"sensor": "a", "total": 3, "records": 2},
            {"sensor": "b", "total": 5, "records": 1},
        ]
        counts = job["record_counts"]
        assert (counts["succeeded"], counts["dropped"], counts["rejected"]) == (3, 2, 0)
        assert job["result"]["rows"] == 2

    def test_rows_are_numbered_in_their_order(self, app: InProcess) -> None:
        body = {**ROLLING, "key": [], "pipeline": [*ROLLING["pipeline"], {"op": "sort", "by": ["-n"]}]}
        name = app.dataset({key: value for key, value in body.items() if key != "key"})
        app.job(app.post(name, [record("a", 0, 1), record("a", 1, 3), record("a", 2, 2)]))
        with app.gristmill.database.autocommit() as connection:
            rows = connection.exec_driver_sql(f'SELECT n FROM data."{name}" ORDER BY _seq, _ord').scalars().all()
        assert rows == [3, 2, 1]

    def test_with_a_key_the_last_row_of_a_key_is_stored(self, app: InProcess) -> None:
        body = {**ROLLING, "pipeline": [*ROLLING["pipeline"], {"op": "sort", "by": ["n"]}]}
        name = app.dataset(body)
        job = app.job(app.post(name, [record("a", 0, 5), record("a", 0, 1)]))
        assert [row["n"] for row in app.rows(name)] == [5]
        assert (job["record_counts"]["succeeded"], job["record_counts"]["superseded"]) == (1, 1)


class TestRejects:
    def test_a_record_that_a_step_cannot_do_is_a_reject_and_the_others_go_on(self, app: InProcess) -> None:
        name = app.dataset(ROLLING)
        sent = [record("a", 0, 2**62), record("a", 1, 2**62), record("a", 20, 1)]
        job = app.job(app.post(name, sent, params={"on_error": "quarantine"}))
        assert (job["record_counts"]["succeeded"], job["record_counts"]["rejected"]) == (2, 1)
        (reject,) = app.http.get(job["links"]["rejects"]).json()["rejects"]
        assert reject["record"] == 1
        assert "step 0 (rolling)" in reject["errors"][0]["reason"]
        failed = app.job(app.post(name, sent))
        assert (failed["state"], failed["error"]["code"]) == ("failed", "record_unfit")

    def test_of_records_that_share_a_row_none_goes_on_without_the_others(self, app: InProcess) -> None:
        name = app.dataset(GROUPED)
        sent = [record("a", 0, 999), record("a", 1, 2), record("b", 2, 5)]
        for options in ({}, {"on_error": "quarantine"}):
            job = app.job(app.post(name, sent, params=options))
            assert (job["state"], job["error"]["code"]) == ("failed", "record_unfit")
            assert job["error"]["record"] == 0
        assert app.rows(name) == []

    def test_a_step_behind_a_group_that_cannot_do_a_row_fails_the_job(self, app: InProcess) -> None:
        steps = [*GROUPED["pipeline"], {"op": "derive", "as": "records", "value": "total // (records - 2)"}]
        name = app.dataset({**GROUPED, "pipeline": steps})
        sent = [record("b", 0), record("a", 1), record("a", 2)]
        job = app.job(app.post(name, sent, params={"on_error": "quarantine"}))
        assert job["state"] == "failed"
        assert "made of 2 records, the first of them record 1" in job["error"]["detail"]

    def test_what_a_step_before_the_group_cannot_do_is_a_reject(self, app: InProcess) -> None:
        steps = [{"op": "derive", "as": "n", "value": "10 // n"}, *GROUPED["pipeline"]]
        name = app.dataset({**GROUPED, "pipeline": steps})
        job = app.job(app.post(name, [record("a", 0, 0), record("a", 1, 5)], params={"on_error": "quarantine"}))
        assert (job["record_counts"]["succeeded"], job["record_counts"]["rejected"]) == (1, 1)
        assert app.rows(name) == [{"sensor": "a", "total": 2, "records": 1}]

    def test_validation_through_the_steps_says_the_same(self, app: InProcess) -> None:
        name = app.dataset(GROUPED)
        app.work()
        sent = [record("a", 0, 999), record("a", 1, 2)]
        answer = app.post(name, sent, path="validate", params={"pipeline": "true"})
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/0/total"


class TestWhatCannotBeMadeAnew:
    def test_changes_merges_and_recomputing_are_refused_by_name(self, app: InProcess) -> None:
        name = app.dataset(ROLLING)
        app.job(app.post(name, [record("a", 0)]))
        answer = app.http.patch(app.key(name, ["a", "2026-01-31T12:00:00Z"]), json={"n": 5})
        assert (answer.status_code, answer.json()["code"]) == (409, "input_not_stored")
        assert "total is made by rolling, which takes a batch as a whole" in answer.json()["detail"]
        answer = app.post(name, [record("a", 0)], params={"mode": "merge"})
        assert (answer.status_code, answer.json()["code"]) == (409, "input_not_stored")
        answer = app.http.post(f"/api/v1/datasets/{name}/recompute", json={"fields": ["total"]})
        assert (answer.status_code, answer.json()["code"]) == (409, "input_not_stored")

    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({**GROUPED, "unknown_fields": "collect"}, "/pipeline/1", "not_mergeable"),
            ({**GROUPED, "embedding": {"dimensions": 3}}, "/pipeline/1", "not_mergeable"),
            ({**ROLLING, "pipeline": [{"op": "melt", "columns": ["n"]}]}, "/pipeline/0", "key_repeated"),
            (
                {**GROUPED, "pipeline": [{"op": "pivot", "columns": "sensor", "column": "n", "agg": "sum"}]},
                "/pipeline/0/values",
                "missing",
            ),
        ],
    )
    def test_contracts_that_cannot_work_are_refused(
        self, app: InProcess, body: dict[str, Any], pointer: str, code: str
    ) -> None:
        answer = app.http.post("/api/v1/datasets", json={**body, "name": "refused"})
        assert answer.status_code == 422
        assert (pointer, code) in [(one["pointer"], one["code"]) for one in answer.json()["errors"]]


class TestWhatIsSaid:
    def test_a_change_of_the_time_that_a_window_follows_is_refused(self, app: InProcess) -> None:
        body = {
            **ROLLING,
            "fields": [{"name": "id", "type": "integer", "required": True}, *ROLLING["fields"]],
            "key": ["id"],
        }
        name = app.dataset(body)
        app.job(app.post(name, [{"id": 1, **record("a", 0)}]))
        answer = app.http.patch(app.key(name, "1"), json={"at": "2027-01-01T00:00:00Z"})
        assert (answer.status_code, answer.json()["code"]) == (409, "input_not_stored")

    def test_the_record_that_is_in_the_way_is_named_by_its_place_in_the_request(self, app: InProcess) -> None:
        name = app.dataset({**ROLLING, "pipeline": [*ROLLING["pipeline"], {"op": "sort", "by": ["-n"]}]})
        app.job(app.post(name, [record("a", 0, 1)]))
        blocked = app.post(name, [record("b", 0)], params={"on_conflict": "skip"})
        job = app.post(name, [record("a", 0, 1), record("a", 1, 2)], params={"on_conflict": "fail"})
        app.job(blocked)
        found = app.http.get(job.json()["links"]["self"]).json()
        assert (found["state"], found["error"]["code"]) == ("failed", "key_exists")
        assert found["error"]["detail"].startswith("Record 0: ")

    def test_a_preview_drops_no_record_that_is_in_a_row(self, app: InProcess) -> None:
        name = app.dataset(GROUPED)
        sample = [record("a", 0), record("a", 1), record("dropped", 2)]
        tried = app.post(name, {"records": sample}, path="pipeline/preview").json()
        assert tried["dropped"] == [2]

    def test_places_in_errors_are_those_of_the_request(self, app: InProcess) -> None:
        name = app.dataset(GROUPED)
        sent = [{"sensor": 1}, record("b", 0), record("a", 1, 2**62), record("a", 2, 2**62)]
        job = app.job(app.post(name, sent, params={"on_error": "quarantine"}))
        assert (job["error"]["code"], job["error"]["record"]) == ("record_unfit", 2)
        assert "step 1 (group)" in job["error"]["detail"]
