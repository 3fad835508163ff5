"""What once went wrong in steps that take a batch as a whole; each stands for its kind."""

import math
from typing import Any

import pyarrow as pa
import pytest
from tests.support.steps import STEPS

from gristmill.core.errors import Invalid
from gristmill.datasets.contract import load_contract
from gristmill.datasets.contract_parser import parse_contract
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.datasets.views import bind_view
from gristmill.transforms.run import MergedUnfit, run
from gristmill.transforms.spec import StepContext

FIELDS = [
    {"name": "at", "type": "timestamp"},
    {"name": "s", "type": "text"},
    {"name": "n", "type": "integer"},
    {"name": "x", "type": "float"},
    {"name": "d", "type": "decimal"},
]
KINDS = {"at": pa.timestamp("us", "UTC"), "s": pa.string(), "n": pa.int64(), "x": pa.float64(), "d": pa.string()}
SECOND = 1_000_000


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.table({name: pa.array([row.get(name) for row in rows], kind) for name, kind in KINDS.items()})


def made(rows: list[dict[str, Any]], *steps: dict[str, Any], **contract: Any) -> list[dict[str, Any]]:
    loaded = load_contract({"name": "x", "fields": FIELDS, "views": {"v": list(steps)}, **contract})
    found: list[dict[str, Any]] = run(bind_view(loaded, "v", STEPS), table_of(rows), StepContext()).table.to_pylist()
    return found


def one(rows: list[dict[str, Any]], agg: str, column: str, **measure: Any) -> Any:
    step = {"op": "group", "measures": [{"agg": agg, "column": column, "as": "made", **measure}]}
    return made(rows, step)[0]["made"]


def test_means_of_sums_beyond_64_bits_take_no_more_time_than_others() -> None:
    count = 200_000
    rows = [{"n": 2**62 + place} for place in range(count)]
    # Each of these sums was added up anew: minutes for this many.
    found = made(rows, {"op": "cumulative", "column": "n", "agg": "mean", "as": "x"})
    assert found[-1]["x"] == float(2**62 + (count - 1) / 2)


def test_the_mean_of_integers_is_the_nearest_float() -> None:
    assert one([{"n": 3002399751580331}] * 3, "mean", "n") == 3002399751580331.0


def test_a_mean_survives_a_gap_that_no_weight_survives() -> None:
    rows = [{"at": 0, "x": 0.0}, {"at": 0, "x": 10.0}, {"at": 3600 * SECOND}, {"at": 1080 * SECOND}]
    found = made(rows, {"op": "ewm", "column": "x", "half_life": "1s", "time": "at", "as": "made"})
    assert [row["made"] for row in found] == [0.0, 5.0, 5.0, 5.0]


def test_results_that_floats_can_hold_are_there() -> None:
    large = [{"x": 1.7e308}, {"x": 1.6e308}]
    assert one(large, "median", "x") == pytest.approx(1.65e308)
    assert one([{"x": 1.7e308}, {"x": -1.7e308}], "quantile", "x", q=0.25) == pytest.approx(-0.85e308)
    assert one(large, "stddev", "x") == pytest.approx(0.1e308 / math.sqrt(2))
    assert one([{"x": 1e-200}, {"x": 2e-200}], "stddev", "x") == pytest.approx(1e-200 / math.sqrt(2))
    assert one([{"x": 1.7e308}, {"x": 1.7e308}, {"x": -1.7e308}, {"x": -1.7e308}], "sum", "x") == 0.0
    assert one([{"x": 1.7e308}, {"x": 1.7e308}], "mean", "x") == 1.7e308


def test_a_deviation_is_as_exact_beside_a_group_of_large_values_as_without_it() -> None:
    rows = [
        {"s": "b", "x": 9007199254740992.0},
        {"s": "a", "x": 1.5},
        {"s": "b", "x": 9007199254740994.0},
        {"s": "a", "x": 7.0},
    ]
    step = {"op": "group", "by": ["s"], "measures": [{"agg": "stddev", "column": "x", "as": "made"}]}
    found = {row["s"]: row["made"] for row in made(rows, step)}
    assert found == {"a": pytest.approx(3.8890872965260113, rel=1e-15), "b": pytest.approx(math.sqrt(2), rel=1e-15)}


def test_a_mean_of_large_decimals_has_the_places_that_there_is_room_for() -> None:
    rows = [{"d": f"10000000000000000000{last}"} for last in (0, 1, 1)]
    assert one(rows, "mean", "d") == "100000000000000000000.66666666666666667"


@pytest.mark.parametrize("agg", ["first", "last"])
def test_rows_without_a_time_are_no_first_and_no_last(agg: str) -> None:
    rows = [{"n": 7, "s": "b"}, {"at": 5, "n": 2, "s": "a"}, {"at": 1, "n": 1, "s": "a"}, {"n": 5, "s": "a"}]
    group = {"op": "group", "by": ["s"], "measures": [{"agg": agg, "column": "n", "as": "made"}]}
    found = made(rows, group, time_field="at")
    wanted = 1 if agg == "first" else 2
    assert found == [{"s": "a", "made": wanted}, {"s": "b", "made": None}]
    pivot = {"op": "pivot", "columns": "s", "column": "n", "agg": agg, "values": ["a", "b"]}
    assert made(rows, pivot, time_field="at") == [{"a": wanted, "b": None}]


def test_a_time_field_that_has_become_something_else_orders_nothing() -> None:
    rows = [{"at": 5, "n": 1, "s": "a"}, {"at": 1, "n": 2, "s": "a"}]
    cast = {"op": "cast", "column": "at", "type": "text"}
    group = {"op": "group", "measures": [{"agg": "first", "column": "n", "as": "made"}]}
    assert made(rows, cast, group, time_field="at") == [{"made": 1}]


def test_a_column_that_is_called_like_a_field_of_the_key_breaks_no_ties() -> None:
    fields = [*FIELDS, {"name": "j", "type": "json"}]
    contract = load_contract(
        {
            "name": "x", "fields": fields, "key": ["s"], "time_field": "at",
            "views": {"v": [{"op": "rename", "columns": {"j": "s", "s": "j"}}, {"op": "lag", "column": "n"}]},
        }
    )  # fmt: skip
    table = table_of([{"at": 1, "n": 1, "s": "a"}, {"at": 1, "n": 2, "s": "b"}]).append_column(
        "j", pa.array(["1", "2"])
    )
    found = run(bind_view(contract, "v", STEPS), table, StepContext())
    assert found.table.column("n").to_pylist() == [None, 1]


def test_values_that_a_pivot_does_not_show_cannot_fail_it() -> None:
    rows = [{"s": "a", "n": 1}, {"s": "b", "n": 2**62}, {"s": "b", "n": 2**62}]
    assert made(rows, {"op": "pivot", "columns": "s", "column": "n", "agg": "sum", "values": ["a"]}) == [{"a": 1}]


def test_a_step_names_the_records_of_a_group_that_it_cannot_make() -> None:
    rows = [{"s": "x", "n": -1}, {"s": "a", "n": 1}, {"s": "b", "n": 2**62}, {"s": "b", "n": 2**62}]
    steps = [
        {"op": "filter", "where": {"n": {"ge": 0}}},
        {"op": "group", "by": ["s"], "measures": [{"agg": "sum", "column": "n"}]},
    ]
    with pytest.raises(MergedUnfit, match=r"step 1 \(group\): sum of n .* of 2 records, the first of them record 2"):
        made(rows, *steps)


def test_an_integer_that_is_no_float_is_not_rounded_in_silence() -> None:
    contract = load_contract(
        {"name": "x", "fields": FIELDS, "pipeline": [{"op": "fill", "column": "n", "method": "linear", "as": "x"}]}
    )
    found = run(bind_pipeline(contract, STEPS), table_of([{"n": 2**53 + 1}, {"n": 2**53}]), StepContext())
    assert [failed.record for failed in found.failed] == [0]


def test_columns_that_take_too_much_memory_are_refused() -> None:
    lags = [{"op": "lag", "column": "s", "as": f"c{n}"} for n in range(40)]
    with pytest.raises(Invalid, match=r"after step \d+ \(lag\)"):
        made([{"s": "x" * 100_000}] * 100, *lags)
    pivot = {
        "op": "pivot",
        "index": ["n"],
        "columns": "s",
        "column": "x",
        "agg": "sum",
        "values": [f"v{n}" for n in range(1000)],
    }
    with pytest.raises(Invalid, match="pivot makes"):
        made([{"n": n, "s": "v1", "x": 1.0} for n in range(5000)], pivot)
    measures = [{"agg": "count", "as": f"m{n}"} for n in range(1001)]
    refused = {"name": "x", "fields": FIELDS, "views": {"v": [{"op": "group", "measures": measures}]}}
    with pytest.raises(Invalid) as error:
        parse_contract(refused, steps=STEPS)
    assert [(one.pointer, one.code) for one in error.value.violations] == [("/views/v/0/measures", "too_many")]


@pytest.mark.parametrize(
    ("view", "pointer", "code"),
    [
        ([{"op": "lag", "column": "n", "as": "_seq"}], "/views/v/0", "reserved_name"),
        ([{"op": "rolling", "column": "n", "window": 1, "agg": "sum", "min_periods": 2**63}], "/views/v/0/min_periods",
         "wrong_type"),
    ],
)  # fmt: skip
def test_views_are_refused_for_what_pipelines_are(view: list[Any], pointer: str, code: str) -> None:
    with pytest.raises(Invalid) as error:
        parse_contract({"name": "x", "fields": FIELDS, "views": {"v": view}}, steps=STEPS)
    assert [(one.pointer, one.code) for one in error.value.violations] == [(pointer, code)]


def test_a_number_beyond_floats_in_a_step_is_not_stored_as_null() -> None:
    pivot = {"op": "pivot", "columns": "x", "column": "n", "agg": "sum", "values": {"a": float("inf")}}
    for body in ({"views": {"v": [pivot]}}, {"pipeline": [{"op": "clip", "column": "x", "maximum": float("inf")}]}):
        with pytest.raises(Invalid, match="finite"):
            parse_contract({"name": "x", "fields": FIELDS, **body}, steps=STEPS)


def test_a_time_that_a_step_reads_unnamed_is_one_of_the_columns_that_it_reads() -> None:
    contract = load_contract(
        {
            "name": "x", "fields": FIELDS, "time_field": "at",
            "pipeline": [{"op": "rolling", "column": "n", "window": "1h", "agg": "sum", "as": "x"}],
        }
    )  # fmt: skip
    (step,) = bind_pipeline(contract, STEPS)
    assert step.reads == {"n", "at"}
