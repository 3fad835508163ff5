"""Aggregates over REST: buckets, groups, measures, fill, windows, pivot, melt, and the forms of the answer."""

import csv
import io
import json
from typing import Any

import pyarrow as pa
import pytest
from tests.support.aggregates import read_in_zone
from tests.support.in_process import InProcess

from gristmill.records.aggregate import service

Row = dict[str, Any]
READINGS: Row = {
    "fields": [
        {"name": "sensor", "type": "text"},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "id", "type": "integer", "required": True},
        {"name": "value", "type": "float"},
        {"name": "count", "type": "integer"},
        {"name": "price", "type": "decimal", "precision": 12, "scale": 2},
        {"name": "took", "type": "duration"},
        {"name": "good", "type": "boolean"},
        {"name": "unit", "type": "uuid"},
        {"name": "day", "type": "date"},
        {"name": "meta", "type": "json"},
    ],
    "key": ["id"],
    "time_field": "at",
}


def at(minute: int, day: int = 1) -> str:
    return f"2026-01-{day:02}T{minute // 60:02}:{minute % 60:02}:00Z"


def ask(app: InProcess, name: str, body: Any, status: int = 200, **headers: str) -> Any:
    answer = app.http.post(f"/api/v1/datasets/{name}/aggregate", json=body, headers=headers)
    assert answer.status_code == status, answer.text
    return answer


def rows(app: InProcess, name: str, **body: Any) -> list[Row]:
    found: list[Row] = ask(app, name, body).json()["rows"]
    return found


def store(app: InProcess, records: list[Row], contract: Row = READINGS) -> str:
    name = app.dataset(contract)
    app.work()
    job = app.job(app.post(name, [{"id": index, **record} for index, record in enumerate(records)]))
    assert job["state"] == "succeeded", job
    return name


@pytest.fixture
def night(app: InProcess) -> str:
    """Half-hourly records over the night in which clocks in Berlin are put back."""
    moments = [f"2025-10-{25 + h // 24:02}T{h % 24:02}:{m:02}:00Z" for h in range(22, 47) for m in (0, 30)]
    return store(app, [{"at": one, "value": 1.0} for one in moments])


class TestBuckets:
    def test_the_doubled_hour_is_two_buckets(self, app: InProcess, night: str) -> None:
        found = rows(app, night, every="1h", zone="Europe/Berlin", measures=[{"agg": "count"}])
        assert len(found) == 25
        assert {one["count"] for one in found} == {2}
        assert [one["start"] for one in found[1:5]] == [
            "2025-10-26T01:00:00+02:00",
            "2025-10-26T02:00:00+02:00",
            "2025-10-26T02:00:00+01:00",
            "2025-10-26T03:00:00+01:00",
        ]
        assert found[2]["end"] == found[3]["start"]

    def test_a_day_of_a_clock_change_is_one_bucket(self, app: InProcess, night: str) -> None:
        found = rows(app, night, every="1d", zone="Europe/Berlin", measures=[{"agg": "count"}])
        assert found == [{"start": "2025-10-26T00:00:00+02:00", "end": "2025-10-27T00:00:00+01:00", "count": 50}]

    @pytest.mark.parametrize("setting", ["America/St_Johns", "Pacific/Apia"])
    @pytest.mark.parametrize("form", ["application/json", "text/csv", "application/vnd.apache.arrow.stream"])
    def test_no_setting_of_postgres_changes_it(
        self, app: InProcess, night: str, setting: str, form: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        body: Row = {"every": "7h", "zone": "Europe/Berlin", "measures": [{"agg": "max", "field": "at"}]}
        body |= {"fill": "null", "rolling": [{"column": "max_at", "window": "1d", "agg": "first"}]}
        before = ask(app, night, body, accept=form).content
        monkeypatch.setattr(service, "read_one_moment", read_in_zone(setting))
        assert ask(app, night, body, accept=form).content == before

    def test_without_an_offset_bounds_are_in_the_zone(self, app: InProcess, night: str) -> None:
        window = {"start": "2025-10-26T00:00:00", "end": "2025-10-26T00:59:59"}
        found = rows(app, night, every="1h", zone="Europe/Berlin", measures=[{"agg": "count"}], **window)
        assert found == [{"start": "2025-10-26T00:00:00+02:00", "end": "2025-10-26T01:00:00+02:00", "count": 2}]

    def test_an_origin_and_an_offset(self, app: InProcess, night: str) -> None:
        days = rows(app, night, every="1d", zone="Europe/Berlin", offset="6h", measures=[{"agg": "count"}])
        assert [(one["start"], one["count"]) for one in days] == [
            ("2025-10-25T06:00:00+02:00", 14),
            ("2025-10-26T06:00:00+01:00", 36),
        ]
        elapsed = rows(app, night, every="36h", origin="2025-10-26T00:00:00+02:00", measures=[{"agg": "count"}])
        assert elapsed == [{"start": "2025-10-25T22:00:00Z", "end": "2025-10-27T10:00:00Z", "count": 50}]
        years = rows(app, night, every="1y", offset="3mo", zone="Europe/Berlin", measures=[{"agg": "count"}])
        assert years == [{"start": "2025-04-01T00:00:00+02:00", "end": "2026-04-01T00:00:00+02:00", "count": 50}]

    def test_of_dates(self, app: InProcess) -> None:
        fields = [{"name": "id", "type": "integer", "required": True}, {"name": "day", "type": "date"}]
        days = ["2026-01-01", "2026-01-31", None, "2026-03-01"]
        name = store(app, [{"day": day} for day in days], {"fields": fields, "key": ["id"], "time_field": "day"})
        found = rows(app, name, every="1mo", measures=[{"agg": "count"}], fill="null")
        assert found == [
            {"start": "2026-01-01", "end": "2026-02-01", "count": 2},
            {"start": "2026-02-01", "end": "2026-03-01", "count": 0},
            {"start": "2026-03-01", "end": "2026-04-01", "count": 1},
        ]
        step = {"column": "id", "window": "31d", "agg": "count", "as": "c"}
        windows = rows(app, name, fields=["id"], rolling=[step])
        assert [(one["id"], one["c"]) for one in windows] == [(0, 1), (1, 2), (3, 2), (2, None)]


class TestMeasures:
    def test_of_every_type(self, app: InProcess) -> None:
        name = store(
            app,
            [
                {"at": at(0), "value": 1.5, "count": 2**62, "price": "1.10", "took": "PT1S", "good": True},
                {"at": at(1), "value": 2.5, "count": 5, "price": "2.25", "took": "PT4S", "good": False},
                {"at": at(2), "value": None, "count": None, "price": "10.00", "sensor": "NA"},
            ],
        )
        measures = [
            {"agg": "count"},
            {"agg": "count", "field": "value"},
            {"agg": "sum", "field": "count"},
            {"agg": "mean", "field": "price"},
            {"agg": "median", "field": "price"},
            {"agg": "quantile", "field": "price", "q": 0.9},
            {"agg": "quantile", "field": "value", "q": 0.25},
            {"agg": "sum", "field": "took"},
            {"agg": "median", "field": "took"},
            {"agg": "mean", "field": "took"},
            {"agg": "min", "field": "good"},
            {"agg": "max", "field": "at"},
            {"agg": "first", "field": "value"},
            {"agg": "last", "field": "value"},
            {"agg": "last", "field": "sensor"},
            {"agg": "stddev", "field": "value"},
            {"agg": "distinct", "field": "sensor"},
            {"agg": "min", "field": "unit"},
            {"agg": "sum", "field": "price"},
        ]
        measures[1]["as"] = "values"
        assert rows(app, name, measures=measures) == [
            {
                "count": 3,
                "values": 2,
                "sum_count": 2**62 + 5,
                "mean_price": "4.45",
                "median_price": "2.25",
                "quantile_price": "8.45",
                "quantile_value": 1.75,
                "sum_took": "PT5S",
                "median_took": "PT2.5S",
                "mean_took": "PT2.5S",
                "min_good": False,
                "max_at": at(2),
                "first_value": 1.5,
                "last_value": 2.5,
                "last_sensor": "NA",
                "stddev_value": pytest.approx(0.7071067811865476, rel=1e-12),
                "distinct_sensor": 1,
                "min_unit": None,
                "sum_price": "13.35",
            }
        ]

    def test_a_sum_beyond_64_bits_is_a_problem(self, app: InProcess) -> None:
        name = store(app, [{"at": at(0), "count": 2**62}, {"at": at(1), "count": 2**62}])
        body: Row = {"measures": [{"agg": "sum", "field": "count"}, {"agg": "count"}]}
        window = {"fields": ["count"], "rolling": [{"column": "count", "window": "1h", "agg": "sum"}]}
        for form in ("application/json", "text/csv", "application/x-ndjson", "application/vnd.apache.arrow.stream"):
            # Never the beginning of an answer: the second row of the window alone is too large.
            assert ask(app, name, body, 422, accept=form).json()["code"] == "number_too_large"
            assert ask(app, name, window, 422, accept=form).json()["code"] == "number_too_large"

    def test_a_sum_of_floats_beyond_their_range_is_a_problem(self, app: InProcess) -> None:
        name = store(app, [{"at": at(0), "value": 1.7e308}, {"at": at(1), "value": 1.7e308}])
        body: Row = {"measures": [{"agg": "sum", "field": "value"}]}
        assert ask(app, name, body, 422).json()["code"] == "number_too_large"

    def test_integers_beyond_the_floats_stay_what_they_are(self, app: InProcess) -> None:
        name = store(app, [{"at": at(index), "count": 2**53 + 1} for index in range(3)])
        aggs = ("sum", "min", "max", "first", "last")
        found = rows(app, name, measures=[{"agg": agg, "field": "count", "as": agg} for agg in aggs])
        assert found == [{"sum": 3 * (2**53 + 1), **dict.fromkeys(aggs[1:], 2**53 + 1)}]


class TestGroups:
    def test_null_and_texts_that_look_like_it_are_groups_of_their_own(self, app: InProcess) -> None:
        texts = ["NA", "null", "NaN", "None", "", None]
        name = store(app, [{"at": at(index), "sensor": text} for index, text in enumerate(texts)])
        found = rows(app, name, by=["sensor"], measures=[{"agg": "count"}])
        assert [one["sensor"] for one in found] == ["", "NA", "NaN", "None", "null", None]
        pivoted = rows(
            app,
            name,
            by=["sensor"],
            measures=[{"agg": "count"}],
            pivot={"columns": "sensor", "column": "count", "prefix": "of "},
            where={"sensor": {"null": False}},
        )
        assert pivoted == [{f"of {text}": 1 for text in ("", "NA", "NaN", "None", "null")}]


class TestFill:
    @pytest.mark.parametrize(
        ("fill", "values"),
        [
            ("none", [1.0, 4.0]),
            ("null", [1.0, None, None, 4.0, None]),
            ("previous", [1.0, 1.0, 1.0, 4.0, 4.0]),
            ("linear", [1.0, 2.0, 3.0, 4.0, None]),
            ({"value": 0}, [1.0, 0.0, 0.0, 4.0, 0.0]),
        ],
    )
    def test_every_kind(self, app: InProcess, fill: Any, values: list[Any]) -> None:
        name = store(app, [{"at": at(0), "value": 1.0, "sensor": "a"}, {"at": at(180), "value": 4.0, "sensor": "a"}])
        measures = [{"agg": "mean", "field": "value", "as": "m"}, {"agg": "count"}]
        window = {"start": at(0), "end": at(240)}
        found = rows(app, name, every="1h", by=["sensor"], measures=measures, fill=fill, **window)
        assert [one["m"] for one in found] == values
        assert sum(one["count"] for one in found) == 2
        assert {one["sensor"] for one in found} == {"a"}

    def test_decimals_stay_decimals(self, app: InProcess) -> None:
        name = store(app, [{"at": at(0), "price": "1.00"}, {"at": at(180), "price": "2.00"}])
        measures = [{"agg": "max", "field": "price", "as": "p"}, {"agg": "sum", "field": "took", "as": "t"}]
        found = rows(app, name, every="1h", measures=measures[:1], fill="linear")
        assert [one["p"] for one in found] == ["1.00", "1.33333333", "1.66666667", "2.00"]
        found = rows(app, name, every="2h", measures=measures, fill="previous")
        assert [(one["p"], one["t"]) for one in found] == [("1.00", None), ("2.00", None)]
        found = rows(app, name, every="3h", measures=measures[:1], fill={"value": "0.5"}, end=at(600))
        assert [one["p"] for one in found] == ["1.00", "2.00", "0.5", "0.5"]

    def test_a_century_in_seconds_is_refused_with_the_count(self, app: InProcess) -> None:
        name = store(app, [{"at": at(0)}])
        body = {"every": "1s", "fill": "null", "start": "1926-01-01T00:00:00Z", "end": "2026-01-01T00:00:00Z"}
        problem = ask(app, name, {**body, "measures": [{"agg": "count"}]}, 422).json()
        assert problem["code"] == "too_many_rows"
        assert "3155760001 buckets" in problem["detail"]


class TestAfterwards:
    def test_rolling_over_records_with_ties(self, app: InProcess) -> None:
        name = store(
            app, [{"at": at(minute), "value": float(index)} for index, minute in enumerate([0, 1, 1, 1, 2, 4])]
        )
        found = rows(
            app,
            name,
            fields=["id", "at", "value"],
            rolling=[
                {"column": "value", "window": "2m", "agg": "sum", "as": "s"},
                {"column": "value", "window": 2, "agg": "mean", "as": "m"},
                {"column": "value", "window": "2m", "agg": "first", "as": "f"},
                {"column": "value", "window": "PT2M", "agg": "last", "as": "l"},
                {"column": "value", "window": "2m", "agg": "count", "as": "c", "min_periods": 2},
            ],
        )
        assert [one["s"] for one in found] == [0, 1, 3, 6, 10, 5]
        assert [one["m"] for one in found] == [0, 0.5, 1.5, 2.5, 3.5, 4.5]
        assert [one["f"] for one in found] == [0, 0, 0, 0, 1, 5]
        assert [one["l"] for one in found] == [0, 1, 2, 3, 4, 5]
        assert [one["c"] for one in found] == [None, 2, 3, 4, 4, None]

    def test_rolling_over_buckets_by_group_then_pivot_then_melt(self, app: InProcess) -> None:
        records = [
            {"at": at(60 * hour), "sensor": sensor, "value": float(hour)} for hour in range(4) for sensor in ("a", "b")
        ]
        name = store(app, records)
        body: Row = {
            "every": "1h",
            "by": ["sensor"],
            "measures": [{"agg": "sum", "field": "value", "as": "v"}],
            "rolling": [{"column": "v", "window": "2h", "agg": "sum", "by": ["sensor"], "as": "r"}],
        }
        assert [one["r"] for one in rows(app, name, **body)] == [0, 0, 1, 1, 3, 3, 5, 5]
        body["pivot"] = {"index": ["start"], "columns": "sensor", "column": "r"}
        assert rows(app, name, **body)[3] == {"start": at(180), "a": 5.0, "b": 5.0}
        body["melt"] = {"index": ["start"], "variable": "sensor", "value": "r"}
        found = rows(app, name, **body)
        assert found[6:] == [
            {"start": at(180), "sensor": "a", "r": 5.0},
            {"start": at(180), "sensor": "b", "r": 5.0},
        ]

    def test_a_pivot_has_a_thousand_columns_and_no_more(self, app: InProcess) -> None:
        name = store(app, [{"at": at(0), "count": number, "value": 1.0} for number in range(1000)])
        body: Row = {"by": ["count"], "measures": [{"agg": "sum", "field": "value", "as": "s"}]}
        body["pivot"] = {"columns": "count", "column": "s"}
        for form in ("application/json", "text/csv", "application/vnd.apache.arrow.stream"):
            assert ask(app, name, body, accept=form).content
        assert rows(app, name, **body) == [{str(number): 1.0 for number in range(1000)}]
        app.job(app.post(name, [{"id": 5000, "at": at(1), "count": 5000}]))
        problem = ask(app, name, body, 422).json()
        assert (problem["code"], problem["columns"]) == ("too_many_columns", 1001)
        assert "count has 1001 values" in problem["detail"]

    def test_columns_of_a_pivot_are_called_as_the_values_are(self, app: InProcess) -> None:
        texts = ["", "NA", "null", "x" * 300, "x" * 301, 'q"\\\n%s :a', "é\u2028", "start"]
        name = store(app, [{"at": at(0), "sensor": text, "value": float(index)} for index, text in enumerate(texts)])
        body: Row = {"by": ["sensor"], "measures": [{"agg": "sum", "field": "value", "as": "s"}]}
        body["pivot"] = {"columns": "sensor", "column": "s", "index": []}
        expected = {text: float(index) for index, text in enumerate(texts)}
        assert rows(app, name, **body) == [expected]
        text = ask(app, name, body, accept="text/csv").text
        (row,) = csv.DictReader(io.StringIO(text, newline=""))
        assert {key: float(value) for key, value in row.items()} == expected
        arrow = ask(app, name, body, accept="application/vnd.apache.arrow.stream")
        assert pa.ipc.open_stream(arrow.content).read_all().to_pylist() == [expected]
        melted = rows(app, name, **body, melt={"variable": "sensor", "value": "s"})
        assert {one["sensor"]: one["s"] for one in melted} == expected

    def test_a_name_of_a_pivot_that_is_taken(self, app: InProcess) -> None:
        name = store(app, [{"at": at(0), "sensor": text, "value": 1.0} for text in ("null", None, "start")])
        body: Row = {"by": ["sensor"], "measures": [{"agg": "count"}]}
        body["pivot"] = {"columns": "sensor", "column": "count"}
        assert ask(app, name, body, 409).json()["code"] == "name_taken"
        body |= {"every": "1h", "where": {"sensor": "start"}}
        assert ask(app, name, body, 409).json()["code"] == "name_taken"
        body["pivot"]["prefix"] = "of "
        assert rows(app, name, **body)[0]["of start"] == 1

    @pytest.mark.parametrize(
        ("agg", "values"),
        [
            *(("count", [2, 1]), ("sum", [4.0, 5.0]), ("mean", [2.0, 5.0]), ("min", [1.0, 5.0])),
            *(("max", [3.0, 5.0]), ("first", [3.0, 5.0]), ("last", [1.0, 5.0])),
        ],
    )
    def test_several_rows_of_a_cell(self, app: InProcess, agg: str, values: list[Any]) -> None:
        found = [("a", None), ("a", 3.0), ("a", 1.0), ("b", 5.0)]
        name = store(app, [{"at": at(index), "sensor": key, "value": v} for index, (key, v) in enumerate(found)])
        pivot = {"columns": "sensor", "column": "value", "agg": agg}
        assert rows(app, name, fields=["sensor", "value"], pivot=pivot) == [dict(zip("ab", values, strict=True))]


class TestLimits:
    def test_more_rows_than_there_may_be(self, database_url: str) -> None:
        app = InProcess(database_url, aggregate_max_rows=5)
        with app.http:
            name = store(app, [{"at": at(index), "count": index % 6} for index in range(12)])
            body: Row = {"by": ["count"], "measures": [{"agg": "count", "as": "n"}]}
            problem = ask(app, name, body, 422).json()
            assert problem["code"] == "too_many_rows"
            assert len(rows(app, name, **body, limit=5)) == 5
            melt = {"index": [], "columns": ["id", "count"]}
            assert ask(app, name, {"fields": ["id", "count"], "limit": 3, "melt": melt}, 422).json()["code"] == (
                "too_many_rows"
            )
            filled = {"every": "1m", "by": ["count"], "measures": [{"agg": "count", "as": "n"}], "fill": "null"}
            assert "12 buckets" in ask(app, name, {**filled, "end": at(11)}, 422).json()["detail"]
            assert app.services.spool.used == 0
        app.gristmill.database.close()

    def test_postgres_is_not_waited_for_without_end(self, database_url: str) -> None:
        app = InProcess(database_url, database_statement_timeout=0.5)
        with app.http:
            name = store(app, [{"at": at(0), "value": float(index)} for index in range(5000)])
            step = {"column": "value", "window": 2000, "agg": "stddev"}
            steps = [{**step, "as": f"s{index}"} for index in range(20)]
            problem = ask(app, name, {"fields": ["value"], "rolling": steps}, 422).json()
            assert problem["code"] == "takes_too_long"
        app.gristmill.database.close()

    def test_so_many_at_once_and_no_more(self, database_url: str) -> None:
        app = InProcess(database_url, aggregate_concurrent=1)
        with app.http:
            name = store(app, [{"at": at(0), "note": "x"}], {**READINGS, "unknown_fields": "ignore"})
            for _ in range(3):
                # Each gives its place back, those that are refused too.
                ask(app, name, {"measures": [{"agg": "count"}]})
                ask(app, name, {"measures": []}, 422)
        app.gristmill.database.close()

    def test_a_spool_that_is_full(self, database_url: str) -> None:
        app = InProcess(database_url, api_max_spool_bytes=2**20)
        with app.http:
            name = app.dataset(READINGS)
            app.work()
            for first in range(0, 2000, 500):
                app.job(app.post(name, [{"id": first + n, "at": at(0), "sensor": "x" * 1000} for n in range(500)]))
            problem = ask(app, name, {"fields": ["id", "sensor"]}, 503).json()
            assert "spool is full" in problem["detail"]
            assert app.services.spool.used == 0
        app.gristmill.database.close()

    def test_an_answer_in_pieces_is_deleted_when_it_is_sent(self, app: InProcess) -> None:
        name = store(app, [{"at": at(0), "sensor": "x" * 1000} for _ in range(2000)])
        found = rows(app, name, fields=["id", "sensor"])
        assert [one["id"] for one in found] == list(range(2000))
        assert app.services.spool.used == 0


class TestDatasets:
    def test_one_that_is_being_created_is_empty(self, app: InProcess) -> None:
        name = app.dataset(READINGS)
        body: Row = {"measures": [{"agg": "count"}, {"agg": "sum", "field": "value"}]}
        assert rows(app, name, **body) == [{"count": 0, "sum_value": None}]
        assert rows(app, name, **body, by=["sensor"]) == []
        assert rows(app, name, **body, every="1d", zone="Europe/Berlin", fill="null") == []
        assert rows(app, name, fields=["id", "meta"]) == []
        window = {"start": at(0), "end": at(60)}
        assert [one["count"] for one in rows(app, name, **body, every="1h", fill="null", **window)] == [0, 0]
        pivot = {"columns": "sensor", "column": "count"}
        assert rows(app, name, measures=[{"agg": "count"}], by=["sensor"], pivot=pivot) == []

    def test_one_whose_creation_was_cancelled(self, app: InProcess) -> None:
        """Whoever reads it first settles that, which a transaction that only reads could not."""
        job = app.http.post("/api/v1/datasets", json={**READINGS, "name": "cancelled"}).json()
        assert app.http.post(f"/api/v1/jobs/{job['id']}/cancel").status_code in (200, 202)
        assert ask(app, "cancelled", {"measures": [{"agg": "count"}]}, 409).json()["code"] == "dataset_failed"

    def test_one_whose_change_is_under_way(self, app: InProcess) -> None:
        name = store(app, [{"at": at(0)}])
        app.http.patch(f"/api/v1/datasets/{name}", json={"add_fields": [{"name": "more", "type": "text"}]})
        # The change is visible at once, its column is not there yet.
        assert rows(app, name, measures=[{"agg": "count"}]) == [{"count": 1}]
        assert ask(app, name, {"by": ["more"]}, 422).json()["errors"][0]["code"] == "unknown_field"
        app.work()
        assert rows(app, name, by=["more"]) == [{"more": None}]

    def test_one_that_is_none(self, app: InProcess) -> None:
        assert ask(app, "nothing", {"measures": [{"agg": "count"}]}, 404).json()["code"] == "unknown_dataset"

    def test_a_filter_and_an_order(self, app: InProcess) -> None:
        name = store(app, [{"at": at(index), "count": index % 3, "value": float(index)} for index in range(9)])
        body: Row = {"by": ["count"], "measures": [{"agg": "max", "field": "value", "as": "m"}]}
        found = rows(app, name, **body, where={"value": {"lt": 8}}, order=["-m"], limit=2)
        assert found == [{"count": 1, "m": 7.0}, {"count": 0, "m": 6.0}]


class TestAnswers:
    def test_every_form_says_the_same(self, app: InProcess, night: str) -> None:
        body = {"every": "1h", "zone": "Europe/Berlin", "measures": [{"agg": "mean", "field": "value"}]}
        whole = ask(app, night, body)
        assert whole.headers["content-type"] == "application/json"
        assert whole.json()["columns"] == [
            {"name": "start", "type": "timestamp"},
            {"name": "end", "type": "timestamp"},
            {"name": "mean_value", "type": "float"},
        ]
        expected = whole.json()["rows"]
        lines = ask(app, night, body, accept="application/x-ndjson")
        assert [json.loads(line) for line in lines.text.splitlines()] == expected
        table = list(csv.DictReader(io.StringIO(ask(app, night, body, accept="text/csv").text)))
        assert [{**row, "mean_value": float(row["mean_value"])} for row in table] == expected
        arrow = ask(app, night, body, accept="application/vnd.apache.arrow.stream")
        found = pa.ipc.open_stream(arrow.content).read_all()
        assert found.schema.field("start").type == pa.timestamp("us", "Europe/Berlin")
        assert [one.isoformat() for one in found.column("start").to_pylist()] == [one["start"] for one in expected]
        assert found.column("mean_value").to_pylist() == [1.0] * 25
        ask(app, night, body, 406, accept="image/png")
