"""Aggregates against their written reference, and beside pandas and DuckDB where those agree with it."""

import datetime as dt
import io
import os
import random
from decimal import Decimal
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support import aggregates
from tests.support.aggregates import Row, read_in_zone, us
from tests.support.in_process import InProcess
from tests.support.servers import add_database

from gristmill.records.aggregate import service

pytestmark = pytest.mark.promise(10)
KINDS = {"f": "float", "i": "integer", "d": "decimal", "s": "text"}
CONTRACT: Row = {
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "s", "type": "text"},
        {"name": "n", "type": "integer"},
        {"name": "f", "type": "float"},
        {"name": "i", "type": "integer"},
        {"name": "d", "type": "decimal", "precision": 14, "scale": 2},
    ],
    "key": ["id"],
    "time_field": "at",
}
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
# Around the changes of clocks of these zones.
MOMENTS = [
    *("2025-10-26T01:00:00+00:00", "2025-03-30T01:00:00+00:00", "2006-10-29T02:31:00+00:00"),
    *("2025-04-05T15:00:00+00:00", "2011-12-30T10:00:00+00:00"),
]


def made() -> list[Row]:
    """Return records in the order of time and key, with ties, nulls and texts that look like nulls."""
    rng = random.Random(52)
    found = []
    for number in range(400):
        centre = dt.datetime.fromisoformat(rng.choice(MOMENTS))
        minutes = rng.randrange(-3 * 1440, 3 * 1440, 30)
        found.append(
            {
                "id": number,
                "at": centre + dt.timedelta(minutes=minutes),
                "s": rng.choice(["a", "NA", "null", "None", "", None]),
                "n": rng.choice([1, 2, None]),
                "f": rng.choice([None, rng.uniform(-1e6, 1e6), rng.uniform(-1, 1), 0.0]),
                "i": rng.choice([None, rng.randrange(-(2**50), 2**50), 2**53 + 1]),
                "d": rng.choice([None, Decimal(rng.randrange(-(10**13), 10**13)).scaleb(-2)]),
            }
        )
    return sorted(found, key=lambda one: (one["at"], one["id"]))


RECORDS = made()


class Asked:
    """The records in a dataset, and answers about them."""

    def __init__(self, app: InProcess) -> None:
        self.app = app
        self.name = app.dataset(CONTRACT)
        app.work()
        shown = [
            {**one, "at": one["at"].isoformat(), "d": None if one["d"] is None else str(one["d"])} for one in RECORDS
        ]
        random.Random(1).shuffle(shown)
        job = app.job(app.post(self.name, shown))
        assert job["state"] == "succeeded", job

    def rows(self, body: Row) -> list[Row]:
        answer = self.app.http.post(f"/api/v1/datasets/{self.name}/aggregate", json=body)
        assert answer.status_code == 200, answer.text
        return [_canonical(row) for row in answer.json()["rows"]]

    def arrow(self, body: Row) -> pa.Table:
        headers = {"accept": "application/vnd.apache.arrow.stream"}
        answer = self.app.http.post(f"/api/v1/datasets/{self.name}/aggregate", json=body, headers=headers)
        assert answer.status_code == 200, answer.text
        return pa.ipc.open_stream(io.BytesIO(answer.content)).read_all()


def _canonical(row: Row) -> Row:
    edges = {name: us(dt.datetime.fromisoformat(row[name])) for name in ("start", "end") if name in row}
    return {**row, **edges}


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Any:
    url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"])
    app = InProcess(url, storage_url=str(tmp_path_factory.mktemp("files")))
    with app.http:
        yield Asked(app)
    app.gristmill.database.close()


def same(found: list[Row], expected: list[Row]) -> None:
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, value in other.items():
            if isinstance(value, Decimal):
                assert Decimal(one[name]) == value, (name, one, other)
            elif isinstance(value, float):
                # Relative to the largest values, where large ones cancel.
                assert one[name] == pytest.approx(value, rel=1e-12, abs=1e-12 * 1e6 * 20), (name, one, other)
            else:
                assert one[name] == value, (name, one, other)


@st.composite
def requests(draw: st.DrawFn) -> Row:
    measures = []
    for index in range(draw(st.integers(1, 4))):
        agg = draw(st.sampled_from(["count", "sum", "mean", "min", "max", "first", "last", "median", "quantile"]))
        agg = draw(st.sampled_from([agg, "stddev", "distinct"]))
        field = draw(st.sampled_from(["f", "i", "d"]))
        measures.append({"agg": agg, "field": field, "as": f"m{index}"})
        if agg == "quantile":
            measures[-1]["q"] = draw(st.sampled_from([0.0, 0.1, 0.25, 0.9, 0.95, 1.0]))
        if agg == "stddev" and field == "i":
            measures[-1]["field"] = "f"
    season = dt.datetime.fromisoformat(draw(st.sampled_from(MOMENTS)))
    hours = draw(st.tuples(st.integers(-80, 80), st.integers(0, 100)))
    start = season + dt.timedelta(hours=hours[0])
    body = {
        "every": draw(st.sampled_from(["1h", "30m", "7h", "1d", "2d", "1w", "1mo", "PT90M"])),
        "zone": draw(st.sampled_from(ZONES)),
        "by": draw(st.sampled_from([[], ["s"], ["s", "n"], ["n"]])),
        "measures": measures,
        "start": start.isoformat(),
        "end": (start + dt.timedelta(hours=hours[1])).isoformat(),
    }
    floats = all(one["agg"] in ("count", "distinct") or one["field"] == "f" for one in measures)
    fills: list[Any] = ["none", "null", "previous", {"value": 7}] + (["linear"] if floats else [])
    body["fill"] = draw(st.sampled_from(fills))
    return body


class TestReference:
    @settings(max_examples=120)
    @given(body=requests(), setting=st.sampled_from(["UTC", "America/St_Johns", "Pacific/Apia", "Europe/Berlin"]))
    def test_buckets_groups_measures_and_fill(self, asked: Asked, body: Row, setting: str) -> None:
        """Whatever the zone of the session is."""
        low, high = (us(dt.datetime.fromisoformat(body[name])) for name in ("start", "end"))
        chosen = [one for one in RECORDS if low <= us(one["at"]) <= high]
        expected = aggregates.grouped(chosen, body, KINDS, lambda: (low, high))
        if isinstance(body["fill"], dict):
            for row in expected:
                for one in body["measures"]:
                    if row[one["as"]] == 7 and one["field"] == "d":
                        row[one["as"]] = Decimal(7)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(service, "read_one_moment", read_in_zone(setting))
            found = asked.rows(body)
        same(found, expected)

    @settings(max_examples=80)
    @given(
        agg=st.sampled_from(["count", "sum", "mean", "min", "max", "stddev", "first", "last"]),
        column=st.sampled_from(["f", "i", "d"]),
        window=st.sampled_from(["30m", "PT1H", "90m", "1d", 1, 3, 20]),
        by=st.sampled_from([[], ["s"], ["s", "n"]]),
        least=st.sampled_from([1, 1, 2]),
    )
    def test_rolling_over_records(
        self, asked: Asked, agg: str, column: str, window: Any, by: list[str], least: int
    ) -> None:
        if agg == "stddev" and column == "i":
            column = "f"
        step = {"column": column, "agg": agg, "window": window, "by": by, "as": "r", "min_periods": least}
        found = asked.rows({"fields": ["id"] + [name for name in ("s", "n", column) if name], "rolling": [step]})
        assert [one["id"] for one in found] == [one["id"] for one in RECORDS]
        values = aggregates.rolling(RECORDS, step, KINDS)
        same([{"r": one["r"]} for one in found], [{"r": value} for value in values])


class TestReshaped:
    @settings(max_examples=60)
    @given(
        index=st.sampled_from([[], ["start"], ["n"], ["start", "n"], ["n", "start"]]),
        agg=st.sampled_from([None, "count", "sum", "mean", "min", "max", "first", "last"]),
        every=st.sampled_from(["1d", "1mo"]),
        field=st.sampled_from(["f", "i", "d"]),
    )
    def test_pivot(self, asked: Asked, index: list[str], agg: str | None, every: str, field: str) -> None:
        if agg is None:
            index = ["start", "n"]
        kind = "integer" if field == "i" else KINDS[field]
        measure = {"agg": "max", "field": field, "as": "m"}
        body: Row = {"every": every, "zone": "Europe/Berlin", "by": ["s", "n"], "measures": [measure]}
        rows = asked.rows(body)
        if field == "d":
            rows = [{**row, "m": None if row["m"] is None else Decimal(row["m"])} for row in rows]
        # The key of rows of groups is that of their order.
        step = {"columns": "s", "column": "m", "index": index, "prefix": "of ", **({"agg": agg} if agg else {})}
        null = {row["s"] for row in rows} & {"null"}
        if null:
            body["where"] = {"s": {"ne": "null"}}
            rows = [row for row in rows if row["s"] not in ("null", None)]
        same(asked.rows({**body, "pivot": step}), aggregates.pivoted(rows, step, kind))

    def test_melt(self, asked: Asked) -> None:
        measures = [{"agg": agg, "field": "f", "as": agg} for agg in ("min", "max", "mean")]
        body: Row = {"every": "1d", "by": ["s"], "measures": measures, "order": ["-max"]}
        step = {"index": ["s"], "columns": ["mean", "min"], "variable": "k", "value": "x"}
        assert asked.rows({**body, "melt": step}) == aggregates.melted(asked.rows(body), step)


class TestBesideOthers:
    def test_pandas_resamples_to_the_same_days_and_hours(self, asked: Asked) -> None:
        frame = pd.DataFrame({"at": [one["at"] for one in RECORDS], "f": [one["f"] for one in RECORDS]})
        for zone in ("Europe/Berlin", "Asia/Kathmandu", "UTC"):
            local = frame.set_index(frame["at"].dt.tz_convert(zone))["f"].sort_index()
            for every, rule in (("1d", "D"), ("1mo", "MS")):
                theirs = local.resample(rule).agg(["count", "mean"])
                theirs = theirs[local.resample(rule).size() > 0]
                measures = [{"agg": "count", "field": "f", "as": "count"}, {"agg": "mean", "field": "f", "as": "mean"}]
                ours = asked.rows({"every": every, "zone": zone, "measures": measures})
                assert [row["start"] for row in ours] == [us(at.to_pydatetime()) for at in theirs.index]
                assert [row["count"] for row in ours] == theirs["count"].tolist()
                for row, mean in zip(ours, theirs["mean"], strict=True):
                    assert row["mean"] == (None if pd.isna(mean) else pytest.approx(mean, rel=1e-9, abs=1e-6))

    def test_duckdb_groups_to_the_same_numbers(self, asked: Asked) -> None:
        table = asked.arrow({"fields": ["at", "s", "n", "f", "i"]}).rename_columns(["t", "s", "n", "f", "i"])
        theirs = duckdb.sql(
            "SELECT time_bucket(INTERVAL 1 HOUR, t) AS b, s, count(*), sum(i)::BIGINT, min(f), max(f), median(f),"
            ' stddev_samp(f), quantile_cont(f, 0.9), count(DISTINCT n) FROM "table" GROUP BY ALL'
            " ORDER BY b, s NULLS LAST"
        ).fetchall()
        measures = [
            {"agg": "count"},
            {"agg": "sum", "field": "i"},
            {"agg": "min", "field": "f"},
            {"agg": "max", "field": "f"},
            {"agg": "median", "field": "f"},
            {"agg": "stddev", "field": "f"},
            {"agg": "quantile", "field": "f", "q": 0.9},
            {"agg": "distinct", "field": "n"},
        ]
        ours = asked.rows({"every": "1h", "by": ["s"], "measures": measures})
        assert table.num_rows == len(RECORDS)
        assert len(ours) == len(theirs)
        for row, other in zip(ours, theirs, strict=True):
            values = [value for name, value in row.items() if name not in ("start", "end")]
            for one, value in zip(values, other[1:], strict=True):
                assert one == (pytest.approx(value, rel=1e-9, abs=1e-6) if isinstance(value, float) else value)

    def test_pandas_rolls_to_the_same_means(self, asked: Asked) -> None:
        frame = pd.DataFrame([{"at": one["at"], "f": one["f"], "s": one["s"] or "-"} for one in RECORDS])
        theirs = frame.rolling("90min", on="at", min_periods=1)["f"].mean()
        step = {"column": "f", "agg": "mean", "window": "90m", "as": "r"}
        ours = asked.rows({"fields": ["f"], "rolling": [step]})
        for row, mean in zip(ours, theirs, strict=True):
            assert row["r"] == (None if pd.isna(mean) else pytest.approx(mean, rel=1e-9, abs=1e-6))
