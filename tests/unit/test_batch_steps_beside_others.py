"""Steps that take a batch as a whole beside pandas and DuckDB, where these agree with docs/semantics.md."""

import datetime as dt
import math
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.steps import STEPS
from tests.unit.test_steps import contract_of

from gristmill.datasets.pipeline import bind_pipeline
from gristmill.transforms.run import column_of, to_frame
from gristmill.transforms.spec import StepContext

FIELDS = [
    {"name": "at", "type": "timestamp"},
    {"name": "g", "type": "text"},
    {"name": "x", "type": "float"},
    {"name": "i", "type": "integer"},
]
START = dt.datetime(2026, 1, 31, tzinfo=dt.UTC)
# Times rise and no two are equal: of equal ones each library has an order of its own.
rows = st.lists(
    st.fixed_dictionaries(
        {
            "pause": st.integers(1, 4_000_000),
            "g": st.none() | st.sampled_from(["a", "b", "NA"]),
            "x": st.none() | st.floats(-1e6, 1e6) | st.sampled_from([0.0, 0.5]),
            "i": st.none() | st.integers(-(2**31), 2**31),
        }
    ),
    min_size=1,
    max_size=25,
)


def table_of(found: list[dict[str, Any]]) -> pa.Table:
    moments, now = [], START
    for row in found:
        now += dt.timedelta(microseconds=row["pause"])
        moments.append(now)
    return pa.table(
        {
            "at": pa.array(moments, pa.timestamp("us", "UTC")),
            "g": pa.array([row["g"] for row in found], pa.string()),
            "x": pa.array([row["x"] for row in found], pa.float64()),
            "i": pa.array([row["i"] for row in found], pa.int64()),
        }
    )


def made(step: dict[str, Any], table: pa.Table) -> pd.DataFrame:
    (bound,) = bind_pipeline(contract_of(step, FIELDS), STEPS)
    return bound.transform(to_frame(table), StepContext()).frame


def alike(ours: list[Any], theirs: list[Any], scale: float = 1e6) -> bool:
    both = zip(ours, [None if pd.isna(value) else value for value in theirs], strict=True)
    return all(
        one == other
        or (None not in (one, other) and math.isclose(float(one), float(other), rel_tol=1e-9, abs_tol=1e-9 * scale))
        for one, other in both
    )


@pytest.mark.promise(10)
@pytest.mark.parametrize("window", [3, "5s"])
@pytest.mark.parametrize("agg", ["sum", "mean", "min", "max", "median", "stddev"])
@settings(max_examples=15)
@given(found=rows)
def test_rolling_is_what_pandas_rolls(agg: str, window: int | str, found: list[dict[str, Any]]) -> None:
    table = table_of(found)
    step = {"op": "rolling", "column": "x", "window": window, "agg": agg, "as": "made", "time": "at"}
    frame = to_frame(table)
    rolled = frame.rolling(window, on="at", min_periods=1)["x"]
    # pandas' own rolling deviation is taken from running sums, whose errors a large value leaves to those after it.
    theirs = rolled.apply(pd.Series.std) if agg == "stddev" else getattr(rolled, agg)()
    assert alike(column_of(made(step, table), "made").to_pylist(), theirs.tolist())


@pytest.mark.promise(10)
@settings(max_examples=25)
@given(found=rows)
def test_rolling_by_groups_is_what_duckdb_windows_are(found: list[dict[str, Any]]) -> None:
    table = table_of(found)
    step = {"op": "rolling", "column": "i", "window": "5s", "agg": "sum", "as": "made", "time": "at", "by": ["g"]}
    query = """
        SELECT sum(i) OVER (PARTITION BY g ORDER BY "at" RANGE BETWEEN INTERVAL '4.999999 seconds' PRECEDING
            AND CURRENT ROW) FROM t ORDER BY "at"
        """
    with duckdb.connect() as connection:
        connection.register("t", table)
        theirs = [one for (one,) in connection.execute(query).fetchall()]
    assert column_of(made(step, table), "made").to_pylist() == theirs


@pytest.mark.promise(10)
@settings(max_examples=25)
@given(found=rows)
def test_groups_are_those_of_duckdb(found: list[dict[str, Any]]) -> None:
    table = table_of(found)
    measures = ["count", "sum", "min", "max", "mean", "stddev", "median", "distinct", "first", "last"]
    step = {
        "op": "group", "by": ["g"], "time": "at",
        "measures": [{"agg": agg, "column": "x", "as": f"m_{agg}"} for agg in measures],
    }  # fmt: skip
    query = """
        SELECT g, count(x), sum(x), min(x), max(x), avg(x), stddev_samp(x), median(x), count(DISTINCT x + 0.0),
            arg_min(x, "at") FILTER (WHERE x IS NOT NULL), arg_max(x, "at") FILTER (WHERE x IS NOT NULL)
        FROM t GROUP BY g ORDER BY g NULLS LAST"""
    with duckdb.connect() as connection:
        connection.register("t", table)
        theirs = [list(column) for column in zip(*connection.execute(query).fetchall(), strict=True)]
    frame = made(step, table)
    ours = [column_of(frame, name).to_pylist() for name in frame.columns]
    assert ours[0] == theirs[0]
    assert all(alike(one, other) for one, other in zip(ours[1:], theirs[1:], strict=True)), (ours, theirs)


@pytest.mark.promise(10)
@settings(max_examples=25)
@given(found=rows)
def test_a_pivot_is_that_of_pandas(found: list[dict[str, Any]]) -> None:
    # pandas leaves rows without a group out.
    table = table_of([{**row, "g": row["g"] or "b", "i": (row["i"] or 0) % 3} for row in found])
    step = {
        "op": "pivot", "index": ["i"], "columns": "g", "column": "x", "agg": "sum",
        "values": {"a": "a", "b": "b", "na": "NA"},
    }  # fmt: skip
    frame = made(step, table)
    theirs = to_frame(table).pivot_table(
        index="i", columns="g", values="x", aggfunc=lambda one: one.sum(min_count=1), dropna=False
    )
    assert column_of(frame, "i").to_pylist() == theirs.index.tolist()
    for ours, name in (("a", "a"), ("b", "b"), ("na", "NA")):
        wanted = theirs[name].tolist() if name in theirs.columns else [None] * len(theirs)
        assert alike(column_of(frame, ours).to_pylist(), wanted)


@pytest.mark.promise(10)
@settings(max_examples=15)
@given(found=rows)
def test_series_are_those_of_pandas(found: list[dict[str, Any]]) -> None:
    table = table_of(found)
    x = to_frame(table)["x"].astype("float64")
    for step, theirs in (
        ({"op": "cumulative", "column": "x", "agg": "sum"}, x.cumsum().ffill()),
        ({"op": "lag", "column": "x", "rows": 2}, x.shift(2)),
        ({"op": "diff", "column": "x"}, x.diff()),
        ({"op": "ewm", "column": "x", "alpha": 0.3}, x.ewm(alpha=0.3).mean()),
        ({"op": "fill", "column": "x", "method": "previous"}, x.ffill()),
        ({"op": "fill", "column": "x", "method": "linear"}, x.interpolate(limit_area="inside")),
        ({"op": "fill", "column": "x", "method": "mean"}, x.fillna(x.mean())),
    ):
        made_of = made({**step, "as": "made"}, table)
        assert alike(column_of(made_of, "made").to_pylist(), theirs.tolist()), step


@pytest.mark.promise(10)
@settings(max_examples=25)
@given(found=rows)
def test_melting_is_what_pandas_melts(found: list[dict[str, Any]]) -> None:
    table = table_of(found)
    frame = made({"op": "melt", "index": ["g"], "columns": ["x"], "value": "val"}, table)
    theirs = to_frame(table).melt(id_vars="g", value_vars=["x"], value_name="val")
    for name in ("g", "variable", "val"):
        wanted = [None if pd.isna(value) else value for value in theirs[name].tolist()]
        assert column_of(frame, name).to_pylist() == wanted
