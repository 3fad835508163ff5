"""Expressions and steps beside DuckDB and pandas, where these agree with docs/semantics.md."""

import datetime as dt
import json
import math
from collections.abc import Callable
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.steps import STEPS
from tests.unit.test_steps import contract_of

from gristmill.datasets.contract_parser import parse_contract
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.datasets.step_types import bound_types
from gristmill.transforms.expression.check import compile_expression
from gristmill.transforms.expression.run import evaluate
from gristmill.transforms.run import column_of, to_frame
from gristmill.transforms.spec import Column, StepContext

TYPES = {
    "i": "integer",
    "j": "integer",
    "x": "float",
    "y": "float",
    "s": "text",
    "t": "text",
    "b": "boolean",
    "day": "date",
}
ARROW = {"integer": pa.int64(), "float": pa.float64(), "text": pa.string(), "boolean": pa.bool_(), "date": pa.date32()}
_values: dict[str, st.SearchStrategy[Any]] = {
    "integer": st.integers(-(2**31), 2**31) | st.sampled_from([0, 1, -1, 2**53 + 1]),
    "float": st.floats(-1e6, 1e6) | st.sampled_from([0.0, 0.5, -2.5]),
    "text": st.text("abAB c,1é", max_size=6) | st.sampled_from(["NA", "", "null"]),
    "boolean": st.booleans(),
    "date": st.dates(dt.date(1900, 1, 1), dt.date(2100, 12, 31)),
}
rows = st.lists(
    st.fixed_dictionaries({name: st.none() | _values[type_] for name, type_ in TYPES.items()}), min_size=1, max_size=20
)
# (expression, SQL of DuckDB)
PAIRS = [
    ("i + j", "i + j"),
    ("i - j * 2", "i - j * 2"),
    ("i == j or i < j", "i = j OR i < j"),
    ("x * y + 1.5", "x * y + 1.5::DOUBLE"),
    ("x < y and not b", "x < y AND NOT b"),
    ("b or x > 0", "b OR x > 0"),
    ("s + t", "s || t"),
    ("s if b else t", "CASE WHEN b THEN s ELSE t END"),
    ("coalesce(s, t, 'none')", "coalesce(s, t, 'none')"),
    ("i is None", "i IS NULL"),
    ("i in (0, 1, 2)", "i IN (0, 1, 2)"),
    ("length(s)", "length(s)"),
    ("replace(s, 'a', 'xy')", "replace(s, 'a', 'xy')"),
    ("substring(s, 2, 3)", "substring(s, 2, 3)"),
    ("contains(s, 'a')", "contains(s, 'a')"),
    ("starts_with(s, 'a')", "starts_with(s, 'a')"),
    ("matches(s, '[0-9]+')", "regexp_matches(s, '[0-9]+')"),
    ("abs(i)", "abs(i)"),
    ("floor(x)", "floor(x)"),
    ("ceiling(x)", "ceil(x)"),
    ("year(day)", "year(day)"),
    ("month(day)", "month(day)"),
    ("weekday(day)", "isodow(day)"),
    ("day + 3", "CAST(day + 3 AS DATE)"),
    ("lower(s)", "lower(s)"),
    ("upper(t)", "upper(t)"),
]


def table_of(found: list[dict[str, Any]]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in found], ARROW[type_]) for name, type_ in TYPES.items()})


def same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return one == other or math.isclose(one, other, rel_tol=1e-12)
    if isinstance(other, dt.datetime):
        other = other.date()
    return bool(one == other)


@pytest.mark.promise(10)
@pytest.mark.parametrize(("expression", "sql"), PAIRS)
@settings(max_examples=15)
@given(found=rows)
def test_an_expression_is_what_duckdb_says(expression: str, sql: str, found: list[dict[str, Any]]) -> None:
    table = table_of(found)
    fields = [{"name": name, "type": type_} for name, type_ in TYPES.items()]
    types = bound_types(parse_contract({"name": "x", "fields": fields}))
    columns = {name: Column(name, type_, ARROW[type_]) for name, type_ in TYPES.items()}
    node = compile_expression(expression, columns, types, "/value")
    values, errors = evaluate(node, dict(zip(table.column_names, table.columns, strict=True)), len(found))
    with duckdb.connect() as connection:
        connection.register("rows", table)
        theirs = [row[0] for row in connection.execute(f"SELECT {sql} FROM rows").fetchall()]
    assert errors == []
    ours = values.to_pylist()
    assert all(same(one, other) for one, other in zip(ours, theirs, strict=True)), list(zip(ours, theirs, strict=True))


def _split(frame: pd.DataFrame) -> pd.DataFrame:
    parts = frame["s"].str.split(",", expand=True, n=1)
    return frame.assign(first=parts[0], second=parts.get(1, None))


# (step, pandas on the same Arrow-backed frame, the columns that are compared)
STEPS_OF_PANDAS: list[tuple[dict[str, Any], Callable[[pd.DataFrame], pd.DataFrame], list[str]]] = [
    ({"op": "select", "columns": ["i", "s"]}, lambda frame: frame[["i", "s"]], ["i", "s"]),
    ({"op": "drop", "columns": ["i"]}, lambda frame: frame.drop(columns=["i"]), ["j", "x", "s", "b"]),
    ({"op": "rename", "columns": {"i": "k"}}, lambda frame: frame.rename(columns={"i": "k"}), ["k", "j"]),
    ({"op": "fill", "column": "i", "value": 7}, lambda frame: frame.assign(i=frame["i"].fillna(7)), ["i"]),
    ({"op": "fill", "column": "s", "value": "-"}, lambda frame: frame.assign(s=frame["s"].fillna("-")), ["s"]),
    (
        {"op": "clip", "column": "x", "minimum": -1.5, "maximum": 10},
        lambda frame: frame.assign(x=frame["x"].clip(-1.5, 10.0)),
        ["x"],
    ),
    ({"op": "filter", "condition": "x > 0"}, lambda frame: frame[(frame["x"] > 0).fillna(False)], ["x", "i"]),
    (
        {"op": "map", "column": "s", "as": "t", "values": {"NA": "none", "": "empty"}},
        lambda frame: frame.assign(t=frame["s"].map({"NA": "none", "": "empty"})),
        ["t"],
    ),
    (
        {"op": "text_clean", "column": "s", "case": "lower"},
        lambda frame: frame.assign(s=frame["s"].str.lower().str.strip()),
        ["s"],
    ),
    (
        {"op": "split", "column": "s", "separator": ",", "into": ["first", "second"], "rest": "keep"},
        _split,
        ["first", "second"],
    ),
    (
        {"op": "normalise", "column": "x", "fitted": {"mean": 2.5, "deviation": 0.5}},
        lambda frame: frame.assign(x=(frame["x"] - 2.5) / 0.5),
        ["x"],
    ),
]


@pytest.mark.promise(10)
@pytest.mark.parametrize(("step", "plain", "columns"), STEPS_OF_PANDAS, ids=[one[0]["op"] for one in STEPS_OF_PANDAS])
@settings(max_examples=25)
@given(found=rows)
def test_a_step_is_what_pandas_does(
    step: dict[str, Any], plain: Callable[[pd.DataFrame], pd.DataFrame], columns: list[str], found: list[dict[str, Any]]
) -> None:
    (bound,) = bind_pipeline(contract_of(step, [{"name": n, "type": t} for n, t in TYPES.items()]), STEPS)
    frame = to_frame(table_of(found))
    made = bound.transform(frame, StepContext()).frame
    wanted = plain(frame)
    for name in columns:
        ours = column_of(made, name).to_pylist()
        theirs = [None if pd.isna(value) else value for value in wanted[name].tolist()]
        assert all(same(one, other) for one, other in zip(ours, theirs, strict=True)), (name, ours, theirs)


@settings(max_examples=50)
@given(
    texts=st.lists(
        st.dates(dt.date(1000, 1, 1)).map(lambda day: day.strftime("%d/%m/%Y"))
        | st.sampled_from(["31/02/2026", "x", ""])
    )
)
def test_dates_are_read_as_pandas_reads_them(texts: list[str]) -> None:
    step = {"op": "cast", "column": "t", "as": "made", "type": "date", "format": "%d/%m/%Y", "otherwise": "null"}
    (bound,) = bind_pipeline(contract_of(step, [{"name": "t", "type": "text"}]), STEPS)
    made = bound.transform(to_frame(pa.table({"t": pa.array(texts, pa.string())})), StepContext()).frame
    theirs = pd.to_datetime(pd.Series(texts, dtype="str"), format="%d/%m/%Y", errors="coerce")
    assert column_of(made, "made").to_pylist() == [None if pd.isna(one) else one.date() for one in theirs]


@settings(max_examples=50)
@given(lists=st.lists(st.none() | st.lists(st.integers(0, 9), max_size=4), min_size=1, max_size=8))
def test_lists_are_exploded_as_pandas_explodes_them(lists: list[list[int] | None]) -> None:
    step = {"op": "explode", "column": "v", "type": "integer"}
    (bound,) = bind_pipeline(
        contract_of(step, [{"name": "n", "type": "integer"}, {"name": "v", "type": "json"}]), STEPS
    )
    texts = [None if one is None else json.dumps(one) for one in lists]
    table = pa.table({"n": pa.array(range(len(lists)), pa.int64()), "v": pa.array(texts, pa.string())})
    made = bound.transform(to_frame(table), StepContext()).frame
    theirs = pd.DataFrame({"n": range(len(lists)), "v": pd.Series(lists, dtype=object)}).explode("v")
    assert column_of(made, "n").to_pylist() == theirs["n"].tolist()
    assert column_of(made, "v").to_pylist() == [None if pd.isna(one) else one for one in theirs["v"]]
