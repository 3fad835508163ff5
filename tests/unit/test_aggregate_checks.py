"""What aggregates refuse before any statement: every mistake with its place, its code, and what would be valid."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import parse_contract
from gristmill.records.aggregate.checks import read_plan
from gristmill.records.aggregate.plan import Plan
from gristmill.records.aggregate.schemas import AggregateRequest
from gristmill.records.bodies import read_body

pytestmark = pytest.mark.promise(4)
FIELDS = [
    {"name": "sensor", "type": "text", "required": True},
    {"name": "at", "type": "timestamp", "required": True, "zone": "Europe/Berlin"},
    {"name": "value", "type": "float"},
    {"name": "n", "type": "integer"},
    {"name": "meta", "type": "json"},
    {"name": "v", "type": "vector", "dimensions": 2},
    {"name": "start", "type": "integer"},
]
CONTRACT = parse_contract({"name": "readings", "fields": FIELDS, "key": ["sensor", "at"], "time_field": "at"})
TIMELESS = parse_contract({"name": "notes", "fields": [{"name": "n", "type": "integer"}]})
DAYS = parse_contract({"name": "days", "fields": [{"name": "day", "type": "date"}], "time_field": "day"})
COUNT = [{"agg": "count"}]
MEAN = [{"agg": "mean", "field": "value"}]
DAY = {"every": "1d", "measures": COUNT}


def plan(body: Any, contract: Any = CONTRACT) -> Plan:
    return read_plan(read_body(AggregateRequest, json.dumps(body).encode()), contract)


def refused(body: Any, contract: Any = CONTRACT) -> list[tuple[str, str]]:
    with pytest.raises(Invalid) as caught:
        plan(body, contract)
    assert all(violation.reason for violation in caught.value.violations)
    return [(violation.pointer, violation.code) for violation in caught.value.violations]


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({}, "/measures", "missing"),
            ({"every": "5 bananas", "measures": COUNT}, "/every", "bad_duration"),
            ({"every": "0h", "measures": COUNT}, "/every", "bad_duration"),
            ({"every": "-1h", "measures": COUNT}, "/every", "bad_duration"),
            ({"every": "24h", "measures": COUNT}, "/every", "too_long"),
            ({"every": 5, "measures": COUNT}, "/every", "wrong_type"),
            ({**DAY, "zone": "Europe/Atlantis"}, "/zone", "unknown_zone"),
            ({**DAY, "zone": "../etc/passwd"}, "/zone", "unknown_zone"),
            ({**DAY, "every": "1mo", "origin": "2026-01-31"}, "/origin", "bad_origin"),
            ({**DAY, "every": "1mo", "offset": "28d"}, "/offset", "out_of_range"),
            ({**DAY, "every": "1y", "offset": "30d"}, "/offset", "bad_origin"),
            ({**DAY, "offset": "1d"}, "/offset", "out_of_range"),
            ({**DAY, "offset": "1mo"}, "/offset", "out_of_range"),
            ({**DAY, "origin": "yesterday"}, "/origin", "not_a_timestamp"),
            ({"measures": COUNT, "origin": "2026-01-01"}, "/origin", "not_applicable"),
            ({"measures": COUNT, "offset": "1h"}, "/offset", "not_applicable"),
            ({**DAY, "start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}, "/start", "start_after_end"),
            ({**DAY, "start": "2025-03-30T02:30:00"}, "/start", "local_time"),
            ({**DAY, "by": ["sensor", "nothing"]}, "/by/1", "unknown_field"),
            ({**DAY, "by": ["meta"]}, "/by/0", "not_comparable"),
            ({**DAY, "by": ["sensor", "sensor"]}, "/by", "duplicate"),
            ({**DAY, "by": ["start"]}, "/by", "duplicate"),
            ({"measures": [{"agg": "mean"}]}, "/measures/0/field", "missing"),
            ({"measures": [{"agg": "mean", "field": "sensor"}]}, "/measures/0/field", "wrong_type"),
            ({"measures": [{"agg": "max", "field": "v"}]}, "/measures/0/field", "wrong_type"),
            ({"measures": [{"agg": "mode", "field": "n"}]}, "/measures/0/agg", "unknown_value"),
            ({"measures": [{"agg": "quantile", "field": "n"}]}, "/measures/0/q", "missing"),
            ({"measures": [{"agg": "quantile", "field": "n", "q": 2}]}, "/measures/0/q", "wrong_type"),
            ({"measures": [{"agg": "sum", "field": "n", "q": 0.5}]}, "/measures/0/q", "not_applicable"),
            ({"measures": [{"agg": "sum", "field": "n", "as": "Total!"}]}, "/measures/0/as", "wrong_type"),
            ({"measures": COUNT * 2}, "/measures", "duplicate"),
            ({"measures": COUNT, "where": {"nothing": 1}}, "/where/nothing", "unknown_field"),
            ({"measures": COUNT, "order": ["-value"]}, "/order/0", "bad_order"),
            ({"measures": COUNT, "limit": 0}, "/limit", "wrong_type"),
            ({"measures": COUNT, "sums": []}, "/sums", "unknown_member"),
            ({**DAY, "fill": "next"}, "/fill", "unknown_value"),
            ({**DAY, "fill": {"value": 1, "more": 2}}, "/fill", "unknown_value"),
            ({"measures": COUNT, "fill": "null"}, "/fill", "not_applicable"),
            ({"every": "1d", "measures": [{"agg": "max", "field": "n"}], "fill": "linear"}, "/fill", "wrong_type"),
            ({"every": "1d", "measures": MEAN, "fill": {"value": "x"}}, "/fill/value", "wrong_type"),
            ({"fields": ["n"], "measures": COUNT}, "/measures", "not_applicable"),
            ({"fields": ["n"], "every": "1h"}, "/every", "not_applicable"),
            ({"fields": ["nothing"]}, "/fields/0", "unknown_field"),
            ({"fields": ["n"], "rolling": [{"column": "m", "window": 3, "agg": "sum"}]}, "/rolling/0/column",
             "unknown_column"),
            ({"fields": ["n"], "rolling": [{"column": "n", "window": "5 bananas", "agg": "sum"}]},
             "/rolling/0/window", "bad_duration"),
            ({"fields": ["n"], "rolling": [{"column": "n", "window": "1mo", "agg": "sum"}]}, "/rolling/0/window",
             "bad_duration"),
            ({"fields": ["n"], "rolling": [{"column": "n", "window": 0, "agg": "sum"}]}, "/rolling/0/window",
             "out_of_range"),
            ({"fields": ["n"], "rolling": [{"column": "n", "window": True, "agg": "sum"}]}, "/rolling/0/window",
             "wrong_type"),
            ({"fields": ["n"], "rolling": [{"column": "n", "window": 2, "agg": "median"}]}, "/rolling/0/agg",
             "not_supported"),
            ({"measures": COUNT, "rolling": [{"column": "count", "window": "1h", "agg": "sum"}]},
             "/rolling/0/window", "no_time_field"),
            ({"fields": ["n"], "rolling": [{"column": "n", "window": 2, "agg": "sum", "as": "n"}]},
             "/rolling/0/as", "duplicate"),
            ({"fields": ["n", "sensor"], "pivot": {"columns": "sensor", "column": "n"}}, "/pivot/agg", "missing"),
            ({"fields": ["n"], "pivot": {"columns": "sensor", "column": "n", "agg": "sum"}}, "/pivot/columns",
             "unknown_column"),
            ({"fields": ["n", "sensor", "meta"], "pivot": {"columns": "meta", "column": "n", "agg": "sum"}},
             "/pivot/columns", "not_comparable"),
            ({"fields": ["n", "sensor"], "pivot": {"columns": "n", "column": "sensor", "agg": "sum"}},
             "/pivot/agg", "wrong_type"),
            ({"fields": ["n", "sensor"], "melt": {}}, "/melt/columns", "mixed_types"),
            ({"fields": ["n", "sensor"], "melt": {"index": ["sensor", "n"]}}, "/melt/columns", "missing"),
            ({"fields": ["n", "sensor"], "melt": {"columns": ["m"]}}, "/melt/columns/0", "unknown_column"),
            ({"fields": ["n", "sensor"], "melt": {"columns": ["n"], "value": "sensor"}}, "/melt/value", "duplicate"),
        ],
    )  # fmt: skip
    def test_the_place_and_the_code(self, body: Any, pointer: str, code: str) -> None:
        assert (pointer, code) in refused(body)

    def test_every_mistake_is_named(self) -> None:
        body = {"every": "0h", "zone": "nowhere", "by": ["x"], "measures": [{"agg": "sum", "field": "y"}], "fill": "z"}
        assert {pointer for pointer, _ in refused(body)} == {"/every", "/zone", "/by/0", "/measures/0/field", "/fill"}

    def test_without_a_time_field(self) -> None:
        assert refused(DAY, TIMELESS) == [("/every", "no_time_field")]
        assert refused({"measures": COUNT, "start": "2026-01-01"}, TIMELESS) == [("/start", "no_time_field")]

    def test_of_dates(self) -> None:
        assert refused({"every": "1h", "measures": COUNT}, DAYS) == [("/every", "too_short")]
        assert refused({**DAY, "zone": "Europe/Berlin"}, DAYS) == [("/zone", "not_applicable")]
        assert refused({**DAY, "every": "1w", "offset": "1h"}, DAYS) == [("/offset", "out_of_range")]

    @given(
        st.dictionaries(
            st.sampled_from([*AggregateRequest.model_fields, "other"]),
            st.recursive(
                st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["1d", "n", "at"]),
                lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
                max_leaves=8,
            ),
        )
    )
    def test_nonsense_raises_nothing_else(self, body: Any) -> None:
        try:
            plan(body)
        except Invalid as error:
            assert error.violations  # noqa: PT017 - both ways are right


class TestPlans:
    def test_the_zone_is_that_of_the_time_field_unless_it_is_named(self) -> None:
        assert plan(DAY).zone == "Europe/Berlin"
        assert plan({**DAY, "zone": "Asia/Tokyo"}).zone == "Asia/Tokyo"
        assert plan(DAY, DAYS).zone == "UTC"

    def test_bounds_without_an_offset_are_in_the_zone(self) -> None:
        found = plan({**DAY, "zone": "Asia/Tokyo", "start": "2026-01-01T00:00:00", "end": "2026-01-01T00:00:00Z"})
        assert (found.end - found.start).total_seconds() == 9 * 3600

    def test_columns_have_names(self) -> None:
        body = {**DAY, "by": ["sensor"], "measures": [*COUNT, *MEAN, {"agg": "sum", "field": "n", "as": "total"}]}
        assert [column.name for column in plan(body).columns] == [
            "start", "end", "sensor", "count", "mean_value", "total",
        ]  # fmt: skip
