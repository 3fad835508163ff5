"""Buckets of a batch: each record is in the bucket that the layout of aggregates says."""

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.steps import STEPS
from tests.unit.test_steps import contract_of

from gristmill.core.errors import Invalid
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.kit.buckets import Buckets
from gristmill.kit.spans import parse_span
from gristmill.transforms.run import run
from gristmill.transforms.spec import StepContext

FIELDS = [
    {"name": "at", "type": "timestamp"},
    {"name": "day", "type": "date"},
    {"name": "g", "type": "text"},
    {"name": "n", "type": "integer"},
]
ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
moments = st.datetimes(dt.datetime(2025, 10, 20), dt.datetime(2026, 4, 10)) | st.datetimes(
    dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23)
)


def resampled(step: dict[str, Any], rows: list[dict[str, Any]]) -> Any:
    (bound,) = bind_pipeline(contract_of({"op": "resample", **step}, FIELDS), STEPS)
    kinds = {"at": pa.timestamp("us", "UTC"), "day": pa.date32(), "g": pa.string(), "n": pa.int64()}
    table = pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in kinds.items()})
    return run([bound], table, StepContext())


def micros(moment: dt.datetime) -> int:
    return (moment.replace(tzinfo=dt.UTC) - EPOCH) // dt.timedelta(microseconds=1)


@pytest.mark.promise(10)
@settings(max_examples=60)
@given(
    found=st.lists(st.tuples(st.none() | moments, st.none() | st.sampled_from("ab")), max_size=12),
    every=st.sampled_from(["15m", "1h", "7h", "1d", "1w", "1mo", "1q"]),
    zone=st.sampled_from(ZONES),
)
def test_rows_are_in_the_buckets_of_aggregates(found: list[Any], every: str, zone: str) -> None:
    rows = [{"at": moment, "g": group, "n": place} for place, (moment, group) in enumerate(found)]
    step = {
        "every": every, "zone": zone, "time": "at", "by": ["g"],
        "measures": [{"agg": "count"}, {"agg": "sum", "column": "n", "as": "n"}],
    }  # fmt: skip
    made = resampled(step, rows)
    times = [micros(row["at"]) for row in rows if row["at"] is not None]
    wanted: dict[Any, list[int]] = {}
    if times:
        layout = Buckets(parse_span(every), zone).layout(min(times), max(times))
        for row in rows:
            if row["at"] is not None:
                start = layout.bucket(micros(row["at"]))[0]
                wanted.setdefault((start, row["g"] is None, row["g"]), []).append(row["n"])
    keys = sorted(wanted, key=lambda key: (key[0], key[1], key[2] or ""))
    assert made.table.column("g").to_pylist() == [key[2] for key in keys]
    assert made.table.column("count").to_pylist() == [len(wanted[key]) for key in keys]
    assert made.table.column("n").to_pylist() == [sum(wanted[key]) for key in keys]
    assert made.origins.tolist() == [min(wanted[key]) for key in keys]
    assert len([] if made.merged is None else made.merged) == len(times)
    for start, end, key in zip(*(made.table.column(name).to_pylist() for name in ("start", "end")), keys, strict=True):
        assert start == max(EPOCH + dt.timedelta(microseconds=max(key[0], micros(dt.datetime.min))), start)
        assert all(start <= rows[n]["at"].replace(tzinfo=dt.UTC) <= end for n in wanted[key])


def test_a_clock_change_makes_two_buckets_of_an_hour_and_days_of_their_own_length() -> None:
    first = dt.datetime(2025, 10, 25, 22)
    rows = [{"at": first + n * dt.timedelta(minutes=30), "n": n} for n in range(50)]
    hours = resampled({"every": "1h", "zone": "Europe/Berlin", "time": "at", "measures": [{"agg": "count"}]}, rows)
    assert hours.table.column("count").to_pylist() == [2] * 25
    days = resampled({"every": "1d", "zone": "Europe/Berlin", "time": "at", "measures": [{"agg": "count"}]}, rows)
    assert days.table.column("count").to_pylist() == [50]
    (start, end) = (days.table.column(name)[0].as_py() for name in ("start", "end"))
    assert end - start == dt.timedelta(hours=25)


def test_dates_have_whole_days_and_the_first_of_a_bucket_is_that_in_time() -> None:
    rows = [{"day": dt.date(2026, 1, day), "n": day} for day in (9, 5, 11, 12)]
    step = {"every": "1w", "time": "day", "measures": [{"agg": "first", "column": "n"}, {"agg": "last", "column": "n"}]}
    made = resampled(step, rows)
    assert made.table.to_pylist() == [
        {"start": dt.date(2026, 1, 5), "end": dt.date(2026, 1, 12), "first_n": 5, "last_n": 11},
        {"start": dt.date(2026, 1, 12), "end": dt.date(2026, 1, 19), "first_n": 12, "last_n": 12},
    ]


@pytest.mark.parametrize(
    ("step", "pointer", "code"),
    [
        ({"every": "5 bananas", "time": "at"}, "/every", "not_a_span"),
        ({"every": "0s", "time": "at"}, "/every", "not_a_span"),
        ({"every": "-1h", "time": "at"}, "/every", "not_a_span"),
        ({"every": "24h", "time": "at"}, "/every", "not_a_span"),
        ({"every": "1h", "time": "day"}, "/every", "not_a_span"),
        ({"every": "1d", "time": "day", "zone": "Europe/Berlin"}, "/zone", "not_applicable"),
        ({"every": "1h", "time": "at", "zone": "Mars/Olympus"}, "/zone", "unknown_value"),
        ({"every": "1h"}, "/time", "missing"),
        ({"every": "1h", "time": "n"}, "/time", "wrong_type"),
        ({"every": "1h", "time": "at", "end": "start"}, "/end", "duplicate"),
        ({"every": "1h", "time": "at", "by": ["g"], "start": "g"}, "/start", "duplicate"),
        ({"every": "1h", "time": "at", "measures": []}, "/measures", "empty"),
    ],
)
def test_what_makes_no_sense_is_refused(step: dict[str, Any], pointer: str, code: str) -> None:
    with pytest.raises(Invalid) as refused:
        resampled({"measures": [{"agg": "count"}], **step}, [])
    assert [(one.pointer, one.code) for one in refused.value.violations] == [(f"/pipeline/0{pointer}", code)]
