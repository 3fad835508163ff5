"""Pipelines that cannot be meant: each is refused when the contract is created, with its place and what is there."""

import contextlib
from typing import Any

import pytest
from tests.support.steps import DOUBLE, STEPS

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import KnownEmbedder, parse_contract

FIELDS = [
    {"name": "n", "type": "integer"},
    {"name": "label", "type": "text"},
    {"name": "price", "type": "decimal"},
    {"name": "weight", "type": "float"},
    {"name": "raw", "type": "json"},
    {"name": "at", "type": "timestamp"},
    {"name": "made", "type": "decimal", "computed": True},
]
FILLED = {"op": "derive", "as": "made", "value": "price"}
TO_MADE = {"op": "cast", "column": "label", "as": "made", "type": "decimal"}
BOOLEAN = {"op": "cast", "column": "label", "type": "boolean"}
SCALED = {"op": "normalise", "column": "n"}
ROLLED = {"op": "rolling", "column": "n", "window": "5s", "agg": "sum", "time": "at"}
PIVOTED = {"op": "pivot", "index": ["n"], "columns": "label", "column": "weight", "agg": "sum", "values": ["a"]}
SPLIT = {"op": "split", "column": "label", "separator": ";"}


def refused(*pipeline: Any, **body: Any) -> list[tuple[str, str, str]]:
    contract = {"name": "things", "fields": FIELDS, "pipeline": list(pipeline), **body}
    with pytest.raises(Invalid) as error:
        parse_contract(contract, {"static": KnownEmbedder(256), "hashing": KnownEmbedder(256)}, steps=STEPS)
    return [(one.pointer, one.code, one.reason) for one in error.value.violations]


@pytest.mark.parametrize(
    ("step", "pointer", "code", "said"),
    [
        ({"op": "select", "columns": []}, "/columns", "wrong_type", "at least 1"),
        ({"op": "select", "columns": ["n", "n"]}, "/columns/1", "duplicate", "twice"),
        ({"op": "select", "columns": ["n", "m"]}, "/columns/1", "unknown_column", "n, label, price"),
        ({"op": "drop", "columns": ["m"]}, "/columns/0", "unknown_column", "n, label, price"),
        ({"op": "drop", "columns": "n"}, "/columns", "wrong_type", "array"),
        ({"op": "rename", "columns": {"m": "k"}}, "/columns/m", "unknown_column", "n, label, price"),
        ({"op": "rename", "columns": {"n": "label"}}, "/columns/n", "duplicate", "label"),
        ({"op": "rename", "columns": {"n": "k", "label": "k"}}, "/columns/label", "duplicate", "k"),
        ({"op": "rename", "columns": {"n": "N!"}}, "/columns/n", "bad_name", "N!"),
        ({"op": "fill", "column": "price"}, "/value", "missing", "value"),
        ({"op": "fill", "column": "price", "value": None}, "/value", "null", "null"),
        ({"op": "fill", "column": "price", "value": 1.5}, "/value", "decimal_from_float", "1.5"),
        ({"op": "fill", "column": "at", "value": "2026-01-31"}, "/value", "not_a_timestamp", "2026-01-31"),
        ({"op": "fill", "column": "n", "value": 1, "method": "next"}, "/value", "not_applicable", "method"),
        ({"op": "fill", "column": "n", "value": 1, "by": ["label"]}, "/by", "not_applicable", "method"),
        ({"op": "fill", "column": "label", "method": "linear"}, "/column", "wrong_type", "integer, float"),
        ({"op": "fill", "column": "label", "method": "mean"}, "/agg", "wrong_type", "integer"),
        ({**ROLLED, "window": "5 bananas"}, "/window", "not_a_span", "5 bananas"),
        ({**ROLLED, "window": "1mo"}, "/window", "not_a_span", "months differ"),
        ({**ROLLED, "window": "0s"}, "/window", "not_a_span", "zero"),
        ({**ROLLED, "window": "-1h"}, "/window", "not_a_span", "-1h"),
        ({**ROLLED, "window": 0}, "/window", "out_of_range", "1000000"),
        ({**ROLLED, "time": None}, "/time", "missing", "name one"),
        ({**ROLLED, "time": "n"}, "/time", "wrong_type", "timestamp, date"),
        ({**ROLLED, "agg": "total"}, "/agg", "wrong_type", "mean"),
        ({**ROLLED, "agg": "quantile"}, "/q", "missing", "0 to 1"),
        ({**ROLLED, "agg": "quantile", "q": 1.5}, "/q", "out_of_range", "1.5"),
        ({**ROLLED, "q": 0.5}, "/q", "not_applicable", "quantile"),
        ({**ROLLED, "column": "label"}, "/agg", "wrong_type", "integer"),
        ({**ROLLED, "by": ["m"]}, "/by/0", "unknown_column", "n, label, price"),
        ({**ROLLED, "by": ["raw"]}, "/by/0", "not_comparable", "json"),
        ({**ROLLED, "by": ["label", "label"]}, "/by/1", "duplicate", "twice"),
        ({**ROLLED, "min_periods": 0}, "/min_periods", "wrong_type", "1"),
        ({"op": "ewm", "column": "n"}, "/alpha", "wrong_members", "half_life"),
        ({"op": "ewm", "column": "n", "alpha": 0.5, "span": 3.0}, "/alpha", "wrong_members", "2"),
        ({"op": "ewm", "column": "n", "alpha": 0.0}, "/alpha", "out_of_range", "0"),
        ({"op": "ewm", "column": "n", "span": 0.5}, "/span", "out_of_range", "0.5"),
        ({"op": "ewm", "column": "n", "half_life": "soon", "time": "at"}, "/half_life", "not_a_span", "soon"),
        ({"op": "ewm", "column": "n", "half_life": "5s"}, "/time", "missing", "name one"),
        ({"op": "ewm", "column": "price", "alpha": 0.5}, "/column", "wrong_type", "integer, float"),
        ({"op": "lag", "column": "n", "rows": 0}, "/rows", "out_of_range", "1 to 1000000"),
        ({"op": "diff", "column": "label"}, "/column", "wrong_type", "integer"),
        ({"op": "cumulative", "column": "n", "agg": "median"}, "/agg", "wrong_type", "sum"),
        ({"op": "sort", "by": []}, "/by", "empty", "at least one"),
        ({"op": "sort", "by": ["-raw"]}, "/by/0", "not_comparable", "json"),
        ({"op": "sample", "seed": 1}, "/rows", "wrong_members", "fraction"),
        ({"op": "sample", "rows": 1, "fraction": 0.5, "seed": 1}, "/rows", "wrong_members", "fraction"),
        ({"op": "sample", "fraction": 1.5, "seed": 1}, "/fraction", "wrong_type", "1.5"),
        ({"op": "sample", "rows": 1}, "/seed", "missing", "seed"),
        ({"op": "drop_duplicates", "columns": []}, "/columns", "empty", "at least one"),
        ({"op": "drop_duplicates"}, "/columns/4", "not_comparable", "json"),
        ({"op": "melt"}, "/columns", "missing", "index"),
        ({"op": "melt", "columns": ["n", "weight"]}, "/columns/1", "wrong_type", "cast"),
        ({"op": "melt", "index": ["n"], "columns": ["n"]}, "/index/0", "duplicate", "twice"),
        ({"op": "melt", "columns": ["n"], "value": "label"}, "/value", "duplicate", "label"),
        ({"op": "group", "measures": []}, "/measures", "empty", "at least one"),
        ({"op": "group", "measures": [{"agg": "sum"}]}, "/measures/0/column", "missing", "column"),
        ({"op": "group", "measures": [{"agg": "sum", "column": "label"}]}, "/measures/0/agg", "wrong_type", "integer"),
        ({"op": "group", "measures": [{"agg": "count"}, {"agg": "count"}]}, "/measures/1/as", "duplicate", "count"),
        (
            {"op": "group", "by": ["label"], "measures": [{"agg": "count", "as": "label"}]},
            "/measures/0/as", "duplicate", "label",
        ),
        ({**PIVOTED, "values": None}, "/values", "missing", "view"),
        ({**PIVOTED, "values": []}, "/values", "too_many", "1000"),
        ({**PIVOTED, "values": [f"v{n}" for n in range(1001)]}, "/values", "too_many", "1001"),
        ({**PIVOTED, "values": ["a", "a"]}, "/values", "duplicate", "twice"),
        ({**PIVOTED, "values": {"a": "x", "b": "x"}}, "/values", "duplicate", "same value"),
        ({**PIVOTED, "values": ["NA"]}, "/values/0", "bad_name", "NA"),
        ({**PIVOTED, "values": {"a": 5}}, "/values/a", "wrong_type", "5"),
        ({**PIVOTED, "values": {"n": "x"}}, "/values", "duplicate", "n"),
        ({**PIVOTED, "columns": "raw"}, "/columns/0", "not_comparable", "json"),
        ({"op": "clip", "column": "label", "minimum": "a"}, "/column", "wrong_type", "integer, float, decimal"),
        ({"op": "clip", "column": "n"}, "/minimum", "missing", "maximum"),
        ({"op": "clip", "column": "n", "minimum": 2, "maximum": 1}, "/minimum", "out_of_range", "2"),
        ({"op": "clip", "column": "price", "minimum": "10", "maximum": "9.99"}, "/minimum", "out_of_range", "9.99"),
        ({"op": "clip", "column": "n", "minimum": "1"}, "/minimum", "wrong_type", "1"),
        ({"op": "cast", "column": "label", "type": "number"}, "/type", "unknown_value", "integer"),
        ({"op": "cast", "column": "label", "type": "vector"}, "/type", "unknown_value", "integer"),
        ({"op": "cast", "column": "raw", "type": "text"}, "/type", "wrong_type", "nothing else"),
        ({"op": "cast", "column": "n", "type": "date"}, "/type", "wrong_type", "decimal, float, text"),
        ({"op": "cast", "column": "n", "type": "integer"}, "/type", "wrong_type", "integer"),
        ({"op": "cast", "column": "label", "type": "text"}, "/type", "wrong_type", "text"),
        ({"op": "cast", "column": "label", "type": "date", "decimal": ","}, "/decimal", "not_applicable", "date"),
        ({"op": "cast", "column": "n", "type": "text", "nulls": [""]}, "/nulls", "not_applicable", "integer"),
        ({"op": "cast", "column": "n", "type": "decimal", "thousands": "."}, "/thousands", "not_applicable", "integer"),
        ({"op": "cast", "column": "label", "type": "float", "decimal": "x"}, "/decimal", "bad_value", "'x'"),
        ({"op": "cast", "column": "label", "type": "float", "decimal": "1"}, "/decimal", "bad_value", "'1'"),
        ({"op": "cast", "column": "label", "type": "float", "decimal": ""}, "/decimal", "bad_value", "''"),
        ({"op": "cast", "column": "label", "type": "float", "thousands": "."}, "/thousands", "bad_value", "same"),
        ({"op": "cast", "column": "label", "type": "date", "format": "%d/%m"}, "/format", "bad_value", "%Y"),
        ({"op": "cast", "column": "label", "type": "date", "format": "%d/%m/%Y/%y"}, "/format", "bad_value", "twice"),
        ({"op": "cast", "column": "label", "type": "date", "format": "%d/%m/%Q"}, "/format", "bad_value", "%Q"),
        ({"op": "cast", "column": "label", "type": "date", "format": "%d/%m/%Y%"}, "/format", "bad_value", "directive"),
        ({"op": "cast", "column": "label", "type": "date", "format": "%d%m%Y %H"}, "/format", "not_applicable", "time"),
        ({"op": "cast", "column": "label", "type": "timestamp", "format": "%d%m%Y"}, "/zone", "missing", "%z"),
        (
            {"op": "cast", "column": "label", "type": "timestamp", "format": "%d%m%Y %H%z", "zone": "UTC"},
            "/zone", "not_applicable", "%z",
        ),
        (
            {"op": "cast", "column": "label", "type": "timestamp", "format": "%d%m%Y %I", "zone": "UTC"},
            "/format", "bad_value", "%p",
        ),
        ({"op": "cast", "column": "label", "type": "timestamp", "zone": "Mars/Base"}, "/zone", "unknown_zone", "Mars"),
        ({**BOOLEAN, "true": []}, "/true", "bad_value", "at least one"),
        ({**BOOLEAN, "true": ["NO"], "false": ["no"]}, "/true", "bad_value", "t"),
        ({"op": "json_extract", "column": "label", "path": "a"}, "/column", "wrong_type", "json"),
        ({"op": "json_extract", "column": "raw", "path": "a\\"}, "/path", "bad_path", "a"),
        ({"op": "json_extract", "column": "raw", "path": "a", "type": "vector"}, "/type", "unknown_value", "text"),
        ({"op": "image_grayscale", "column": "n"}, "/column", "wrong_type", "image, text"),
        ({"op": "image_grayscale", "column": "label", "as": "N!"}, "/as", "bad_name", "N!"),
        ({"op": "image_grayscale", "column": "label", "format": "gif"}, "/format", "wrong_type", "webp"),
        ({"op": "image_resize", "column": "label", "width": 2}, "/height", "missing", "height"),
        ({"op": "image_resize", "column": "label", "width": 2, "height": 0}, "/height", "wrong_type", "1"),
        ({"op": "image_resize", "column": "label", "width": 2, "height": 16_385}, "/height", "wrong_type", "16384"),
        (
            {"op": "image_resize", "column": "label", "width": 16_384, "height": 16_384},
            "/width", "too_many_pixels", "50000000",
        ),
        ({"op": "image_pad", "column": "label"}, "/width", "missing", "ratio"),
        ({"op": "image_pad", "column": "label", "width": 2, "colour": "red"}, "/colour", "wrong_type", "red"),
        ({"op": "image_centre_crop", "column": "label", "width": 1.5}, "/width", "out_of_range", "pixels"),
        ({"op": "image_rotate", "column": "label", "degrees": 361}, "/degrees", "wrong_type", "360"),
        ({"op": "image_flip", "column": "label", "seed": -1}, "/seed", "wrong_type", "0"),
        ({"op": "image_normalise", "column": "label", "cutoff": 50}, "/cutoff", "wrong_type", "50"),
        ({"op": "image_info", "column": "label", "width": "height"}, "/width", "duplicate", "twice"),
        (
            {"op": "image_info", "column": "label", "width": None, "height": None, "format": None},
            "/width", "missing", "no column",
        ),
        ({"op": "explode", "column": "label"}, "/column", "wrong_type", "json"),
        ({"op": "explode", "column": "raw", "place": "raw"}, "/place", "duplicate", "raw"),
        ({"op": "split", "column": "label", "separator": ""}, "/separator", "wrong_type", "at least 1"),
        ({"op": "split", "column": "label", "separator": ";"}, "/into", "missing", "as"),
        ({**SPLIT, "into": ["a"], "as": "b"}, "/into", "not_applicable", "s"),
        ({**SPLIT, "as": "b", "rest": "drop"}, "/rest", "not_applicable", "l"),
        ({**SPLIT, "into": ["a", "a"]}, "/into/1", "duplicate", "a"),
        ({**SPLIT, "into": ["a", "B"]}, "/into/1", "bad_name", "B"),
        ({"op": "text_clean", "column": "price"}, "/column", "wrong_type", "text"),
        ({"op": "text_clean", "column": "label", "case": "title"}, "/case", "wrong_type", "fold"),
        ({"op": "text_clean", "column": "label", "form": "nfc"}, "/form", "wrong_type", "NFC"),
        ({"op": "normalise", "column": "label"}, "/column", "wrong_type", "integer, float, decimal"),
        ({"op": "normalise", "column": "n", "method": "max"}, "/method", "wrong_type", "robust"),
        ({"op": "normalise", "column": "n", "fitted": {"mean": 1}}, "/fitted", "wrong_members", "deviation"),
        ({**SCALED, "fitted": {"mean": 1, "deviation": -1}}, "/fitted", "out_of_range", "too small"),
        (
            {"op": "normalise", "column": "n", "method": "minmax", "fitted": {"minimum": 2, "maximum": 1}},
            "/fitted", "out_of_range", "maximum",
        ),
        ({"op": "pseudonymise", "column": "label", "secret": "none"}, "/secret", "unknown_value", "example"),
        ({"op": "pseudonymise", "column": "weight", "secret": "example"}, "/column", "wrong_type", "text, integer"),
        ({"op": "pseudonymise", "column": "label", "secret": "example", "length": 8}, "/length", "wrong_type", "16"),
        ({"op": "chunk_text", "column": "label"}, "/embedder", "missing", "tokens"),
        ({"op": "chunk_text", "column": "label", "embedder": "x"}, "/embedder", "unknown_embedder", "hashing"),
        ({"op": "chunk_text", "column": "label", "embedder": "hashing", "tokens": 4}, "/tokens", "wrong_type", "8"),
        (
            {"op": "chunk_text", "column": "label", "embedder": "hashing", "tokens": 9, "overlap": 5},
            "/overlap", "out_of_range", "9",
        ),
        (
            {"op": "chunk_text", "column": "label", "embedder": "hashing", "place": "label"},
            "/place", "duplicate", "label",
        ),
    ],
    ids=lambda value: str(value)[:60],
)  # fmt: skip
def test_a_step_that_does_not_fit_is_refused_at_its_place(
    step: dict[str, Any], pointer: str, code: str, said: str
) -> None:
    ((found, found_code, reason),) = refused(FILLED, step)
    assert (found, found_code) == (f"/pipeline/1{pointer}", code)
    assert said in reason


@pytest.mark.parametrize("op", [name for name in STEPS.names() if name not in ("double", "pair")])
def test_what_is_no_parameter_is_named_with_those_there_are(op: str) -> None:
    found = refused({"op": op, "colum": 1})
    ((reason),) = [reason for pointer, code, reason in found if code == "unknown_member"]
    assert "/pipeline/0/colum" in [pointer for pointer, _, _ in found]
    assert "op" in reason


@pytest.mark.parametrize("op", [name for name in STEPS.names() if name not in ("double", "pair")])
@pytest.mark.parametrize("value", [None, 5, [], {}, "x", True, [[]], {"a": {"b": []}}, 1e400, -1])
def test_any_value_of_any_parameter_is_refused_or_taken_and_never_breaks(op: str, value: Any) -> None:
    kind = STEPS.get(op)
    assert kind is not None
    for name, field in kind.parameters.model_fields.items():
        member = field.alias or name
        if member != "op":
            step = {"op": op, "column": "label", "columns": ["n"], "separator": ";", "path": "a", member: value}
            with contextlib.suppress(Invalid):
                parse_contract({"name": "things", "fields": FIELDS, "pipeline": [FILLED, step]}, steps=STEPS)


class TestTheWhole:
    def test_a_field_that_a_step_drops_is_named_with_the_step(self) -> None:
        ((pointer, code, reason),) = refused(
            FILLED, {"op": "drop", "columns": ["label"]}, {"op": "fill", "column": "n", "value": 1}
        )
        assert (pointer, code) == ("/pipeline/1", "not_filled")
        assert "label" in reason
        assert "drop" in reason

    def test_a_pipeline_that_ends_without_a_key_column_is_refused(self) -> None:
        found = refused(
            FILLED, {"op": "drop", "columns": ["n"]}, key=["n"], fields=[{**FIELDS[0], "required": True}, *FIELDS[1:]]
        )
        assert ("/pipeline/1", "not_filled") in [(pointer, code) for pointer, code, _ in found]

    def test_a_renamed_field_is_no_column_any_more(self) -> None:
        found = refused(FILLED, {"op": "rename", "columns": {"label": "name"}})
        assert [(pointer, code) for pointer, code, _ in found] == [("/pipeline/1", "not_filled")]

    def test_two_steps_that_make_one_column_are_refused_unless_it_is_read_in_between(self) -> None:
        ((pointer, code, reason),) = refused(FILLED, {**FILLED, "value": "price * 2"})
        assert (pointer, code) == ("/pipeline/1", "made_twice")
        assert "step 0" in reason
        parse_contract(
            {"name": "t", "fields": FIELDS, "pipeline": [FILLED, {**FILLED, "value": "made * 2"}]}, steps=STEPS
        )

    def test_a_type_that_the_field_is_not_is_refused(self) -> None:
        ((pointer, code, reason),) = refused({**TO_MADE, "type": "float"})
        assert (pointer, code) == ("/pipeline/0", "wrong_type")
        assert "decimal" in reason

    def test_several_rows_of_a_record_have_no_key(self) -> None:
        fields = [{**FIELDS[0], "required": True}]
        assert [(p, c) for p, c, _ in refused(DOUBLE, fields=fields, key=["n"])] == [("/pipeline/0", "key_repeated")]
        explode = {"op": "explode", "column": "raw"}
        found = refused(FILLED, explode, fields=[*fields, *FIELDS[1:]], key=["n"])
        assert [(p, c) for p, c, _ in found] == [("/pipeline/1", "key_repeated")]

    def test_there_are_at_most_100_steps(self) -> None:
        step = {"op": "fill", "column": "label", "value": "x"}
        parse_contract({"name": "t", "fields": FIELDS, "pipeline": [FILLED, *[step] * 99]}, steps=STEPS)
        ((pointer, code, reason),) = refused(FILLED, *[step] * 500)
        assert (pointer, code) == ("/pipeline", "too_many")
        assert "501" in reason
        assert "100" in reason
