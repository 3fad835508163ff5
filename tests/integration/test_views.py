"""Views: pipelines over the newest batch or a window, run when they are read."""

import csv
import io
import json
import os
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from tests.support.in_process import InProcess
from tests.support.servers import add_database

from gristmill.core.config import Settings

FIELDS = [
    {"name": "sensor", "type": "text", "required": True},
    {"name": "at", "type": "timestamp", "required": True},
    {"name": "value", "type": "float"},
    {"name": "exact", "type": "decimal"},
    {"name": "uid", "type": "uuid"},
]
VIEWS: dict[str, Any] = {
    "smooth": [
        {"op": "rolling", "column": "value", "window": "5s", "agg": "mean", "as": "moving_avg", "by": ["sensor"]}
    ],
    "melted": [{"op": "melt", "index": ["sensor"], "columns": ["value"], "value": "val"}],
    "pivoted": [{"op": "pivot", "index": ["at"], "columns": "sensor", "column": "value", "agg": "mean"}],
    "means": [{"op": "group", "by": ["sensor"], "measures": [{"agg": "sum", "column": "exact", "as": "total"}]}],
    "same": [{"op": "select", "columns": ["sensor", "exact", "uid"]}],
    "strict": [{"op": "derive", "as": "inverse", "value": "1 / value"}],
}
BODY = {"fields": FIELDS, "key": ["sensor", "at"], "time_field": "at", "views": VIEWS}


def record(sensor: str, second: int, value: float | None = 1.0, **more: Any) -> dict[str, Any]:
    return {"sensor": sensor, "at": f"2026-01-31T12:00:{second:02}Z", "value": value, **more}


@pytest.fixture(scope="module")
def app() -> Iterator[InProcess]:
    """Gristmill with small views, on one database for all tests."""
    url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"])
    found = InProcess(url, views_max_rows=50, views_max_bytes=12_000)
    with found.http:
        yield found
    found.gristmill.database.close()


def view(app: InProcess, name: str, which: str, **query: Any) -> Any:
    answer = app.http.get(f"/api/v1/datasets/{name}/views/{which}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


class TestTheNewestBatch:
    def test_it_is_that_of_the_succeeded_ingest_with_the_highest_number(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, [record("a", 0), record("b", 0)]))
        newest = app.job(app.post(name, [record("a", 1, 2.0), record("a", 4, 6.0)]))
        failed = app.http.post(
            f"/api/v1/datasets/{name}/records", json=[record("a", 0)], params={"on_conflict": "skip"}
        ).json()
        found = view(app, name, "smooth")
        assert [row["moving_avg"] for row in found["rows"]] == [2.0, 4.0]
        assert found["batch"] == {
            "job": newest["id"],
            "finished_at": found["batch"]["finished_at"],
            "rows": 2,
            "superseded": 0,
        }
        assert found["columns"][-1] == {"name": "moving_avg", "type": "float"}
        # One that has not run yet is no batch; once it has, it is the newest, though nothing of it was written.
        assert failed["state"] == "queued"
        app.work()
        assert view(app, name, "smooth")["rows"] == []

    def test_a_change_leaves_a_row_in_its_batch_and_a_later_record_takes_it_out(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, [record("a", 0, 1.0), record("a", 1, 2.0), record("a", 2, 3.0)]))
        app.job(app.http.patch(app.key(name, ["a", "2026-01-31T12:00:01Z"]), json={"value": 5.0}))
        app.job(app.http.delete(app.key(name, ["a", "2026-01-31T12:00:02Z"])))
        found = view(app, name, "means")
        assert found["batch"]["superseded"] == 1
        assert [row["value"] for row in view(app, name, "smooth")["rows"]] == [1.0, 5.0]
        app.job(app.post(name, [record("a", 1, 7.0)]))
        found = view(app, name, "smooth")
        assert [row["value"] for row in found["rows"]] == [7.0]
        app.job(
            app.http.patch(
                f"/api/v1/datasets/{name}/records", json={"where": {"sensor": "a"}, "changes": {"value": 0.5}}
            )
        )
        assert [row["value"] for row in view(app, name, "smooth")["rows"]] == [0.5]

    def test_an_older_batch_is_read_by_its_job(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        first = app.job(app.post(name, [record("a", 0), record("a", 1)]))
        app.job(app.post(name, [record("a", 1, 5.0)]))
        found = view(app, name, "smooth", batch=first["id"])
        assert [row["at"] for row in found["rows"]] == ["2026-01-31T12:00:00Z"]
        assert (found["batch"]["job"], found["batch"]["superseded"]) == (first["id"], 1)
        other = app.job(app.post(app.dataset(BODY), [record("a", 0)]))
        for wrong, status in (
            ({"batch": other["id"]}, 404),
            ({"batch": "x"}, 422),
            ({"batch": first["id"], "start": "2026-01-31T12:00:00Z"}, 422),
        ):
            answer = app.http.get(f"/api/v1/datasets/{name}/views/smooth", params=wrong)
            assert answer.status_code == status, answer.text

    def test_without_a_batch_there_are_no_rows(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        before = view(app, name, "smooth")
        assert (before["rows"], before["batch"]) == ([], None)
        app.work()
        assert view(app, name, "pivoted")["rows"] == []

    def test_rows_that_were_copied_have_no_job(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, [record("a", 0)]))
        app.job(app.post(name, [record("a", 1)]))
        target = f"{name}_copy"
        job = app.http.post(f"/api/v1/datasets/{name}/copy", json={"name": target}).json()
        app.work(queue="long")
        assert app.http.get(job["links"]["self"]).json()["state"] == "succeeded"
        found = view(app, target, "smooth")
        assert [row["at"] for row in found["rows"]] == ["2026-01-31T12:00:01Z"]
        assert found["batch"] is None


class TestWindows:
    def test_bounds_are_inclusive_and_reach_across_batches(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        for second in range(4):
            app.job(app.post(name, [record("a", second, float(second))]))
        found = view(app, name, "smooth", start="2026-01-31T12:00:01Z", end="2026-01-31T12:00:03Z")
        assert [row["moving_avg"] for row in found["rows"]] == [1.0, 1.5, 2.0]
        assert found["batch"] is None
        found = view(app, name, "smooth", where=json.dumps({"value": {"ge": 3}}))
        assert [row["value"] for row in found["rows"]] == [3.0]

    def test_columns_of_a_pivot_come_of_the_values_and_stay_what_they_are(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        sensors = ["NA", "null", "NaN", "None", "", "a b"]
        app.job(app.post(name, [record(sensor, 0, float(n)) for n, sensor in enumerate(sensors)]))
        found = view(app, name, "pivoted")
        assert found["rows"] == [{"at": "2026-01-31T12:00:00Z", **{one: float(n) for n, one in enumerate(sensors)}}]

    def test_exact_values_pass_as_they_are(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        uid = "00000000-0000-0000-0000-000000000005"
        app.job(app.post(name, [record("a", 0, exact="1.50", uid=uid), record("a", 1, exact=None)]))
        assert view(app, name, "same")["rows"] == [
            {"sensor": "a", "exact": "1.50", "uid": uid},
            {"sensor": "a", "exact": None, "uid": None},
        ]
        assert view(app, name, "means")["rows"] == [{"sensor": "a", "total": "1.50"}]


class TestFormats:
    def test_each_says_the_same(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        uid = "00000000-0000-0000-0000-000000000005"
        app.job(app.post(name, [record('a,"b', 0, exact="1.50", uid=uid), record("", 1)]))
        rows = view(app, name, "same")["rows"]
        path = f"/api/v1/datasets/{name}/views/same"
        lines = app.http.get(path, params={"format": "ndjson"})
        assert [json.loads(line) for line in lines.text.splitlines()] == rows
        assert lines.headers["gristmill-batch"] == view(app, name, "same")["batch"]["job"]
        cells = app.http.get(path, headers={"accept": "text/csv"})
        assert cells.text == f'sensor,exact,uid\n"a,""b",1.50,{uid}\n"",,\n'
        assert [*csv.reader(io.StringIO(cells.text))][1] == ['a,"b', "1.50", uid]
        arrow = app.http.get(path, headers={"accept": "application/vnd.apache.arrow.stream"})
        assert pa.ipc.open_stream(arrow.content).read_all().to_pylist() == rows
        assert app.http.get(path, headers={"accept": "image/png"}).status_code == 406
        assert app.http.head(path).status_code == 200


class TestRefusals:
    @pytest.mark.parametrize(
        ("views", "pointer", "code"),
        [
            ({"x": []}, "/views/x", "empty"),
            ({"Big": [{"op": "sort", "by": ["at"]}]}, "/views", "bad_name"),
            ({"x": [{"op": "sort", "by": ["none"]}]}, "/views/x/0/by/0", "unknown_column"),
            ({"x": [{**VIEWS["smooth"][0], "window": "5 bananas"}]}, "/views/x/0/window", "not_a_span"),
            ({"x": [VIEWS["pivoted"][0], {"op": "sample", "rows": 1, "seed": 1}]}, "/views/x/0/values", "missing"),
            ({f"v{n}": [{"op": "sort", "by": ["at"]}] for n in range(51)}, "/views", "too_many"),
            ([], "/views", "wrong_type"),
        ],
    )  # fmt: skip
    def test_a_view_that_does_not_fit_is_refused_where_it_is_wrong(
        self, app: InProcess, views: Any, pointer: str, code: str
    ) -> None:
        answer = app.http.post("/api/v1/datasets", json={**BODY, "name": "refused", "views": views})
        assert answer.status_code == 422, answer.text
        assert (pointer, code) in [(one["pointer"], one["code"]) for one in answer.json()["errors"]]

    def test_too_many_rows_are_refused_with_their_count(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, [record(f"s{n}", n % 60) for n in range(51)]))
        answer = app.http.get(f"/api/v1/datasets/{name}/views/smooth")
        assert (answer.status_code, answer.json()["code"]) == (413, "view_too_large")
        assert (answer.json()["records"], answer.json()["max_records"]) == (51, 50)
        assert "views.max_rows" in answer.json()["detail"]
        assert view(app, name, "smooth", where=json.dumps({"sensor": "s1"}))["rows"] != []

    def test_too_many_bytes_are_refused(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, [record("x" * 200 + str(n), 0, exact="1" * 30) for n in range(50)]))
        answer = app.http.get(f"/api/v1/datasets/{name}/views/smooth")
        assert (answer.status_code, answer.json()["max_bytes"]) == (413, 12_000)

    def test_a_view_that_is_none_and_a_bad_window_are_named(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        answer = app.http.get(f"/api/v1/datasets/{name}/views/smoothe")
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_view")
        assert "means, melted, pivoted, same, smooth, strict" in answer.json()["detail"]
        answer = app.http.get(f"/api/v1/datasets/{name}/views/smooth", params={"start": "yesterday"})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/query/start")
        answer = app.http.get("/api/v1/datasets/none/views/smooth")
        assert answer.status_code == 404

    def test_a_record_that_a_step_cannot_do_is_named(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, [record("a", 0), record("zero", 1, 0.0)]))
        answer = app.http.get(f"/api/v1/datasets/{name}/views/strict")
        assert answer.status_code == 422
        assert "zero" in answer.json()["detail"]
        assert "step 0 (derive)" in answer.json()["detail"]


class TestChanges:
    def test_views_are_changed_as_a_version_and_the_index_is_built(self, app: InProcess) -> None:
        name = app.dataset({**BODY, "views": {}})
        app.job(app.post(name, [record("a", 0)]))
        job = app.job(app.http.patch(f"/api/v1/datasets/{name}", json={"views": {"last": VIEWS["smooth"]}}))
        app.work(queue="long")
        assert job["state"] == "succeeded"
        assert [row["moving_avg"] for row in view(app, name, "last")["rows"]] == [1.0]
        with app.gristmill.database.autocommit() as connection:
            indexes = connection.exec_driver_sql(
                "SELECT indexdef FROM pg_indexes WHERE tablename = %(name)s AND indexname = %(index)s",
                {"name": name, "index": f"{name}__batch"},
            ).scalars()
            assert ["COALESCE(_batch, _seq)" in one for one in indexes] == [True]
        job = app.job(app.http.patch(f"/api/v1/datasets/{name}", json={"views": {}}))
        assert app.http.get(f"/api/v1/datasets/{name}/views/last").status_code == 404

    def test_the_settings_have_room_for_a_window_of_a_hundred_thousand_rows(self) -> None:
        assert Settings(database_url="postgresql://x").views_max_rows >= 100_000
