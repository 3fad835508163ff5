"""Steps of pipelines, each against a plain row-by-row reading of what its documentation says."""

import datetime as dt
import itertools
import uuid
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.steps import DOUBLE, STEPS

from gristmill.core.errors import Invalid
from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.contract_parser import parse_contract
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.datasets.types import TYPES
from gristmill.records.columns import to_table
from gristmill.transforms.registry import StepRegistry
from gristmill.transforms.run import Transformed, number_outputs, run
from gristmill.transforms.spec import StepContext

FIELDS = [
    {"name": "n", "type": "integer", "required": True},
    {"name": "colour", "type": "text"},
    {"name": "code", "type": "text", "computed": True},
    {"name": "size", "type": "integer", "computed": True},
]
BODY: dict[str, Any] = {"name": "things", "fields": FIELDS[:2], "key": ["n"]}
TO_CODE = {"op": "map", "column": "colour", "as": "code", "values": {"red": "R", "NA": "N"}}


def contract_of(*pipeline: dict[str, Any], **body: Any) -> Contract:
    return parse_contract({**BODY, "pipeline": list(pipeline), **body}, steps=STEPS)


def things(*colours: str | None) -> list[dict[str, Any]]:
    return [{"n": n, "colour": colour} for n, colour in enumerate(colours)]


def transformed(contract: Contract, rows: Sequence[dict[str, Any]]) -> Transformed:
    blank = dict.fromkeys(column.name for column in contract.input_columns)
    return run(
        bind_pipeline(contract, STEPS), to_table(contract.input_columns, [{**blank, **r} for r in rows]), StepContext()
    )


def column(made: Transformed, name: str) -> list[Any]:
    values: list[Any] = made.table.column(name).to_pylist()
    return values


class TestMap:
    @pytest.mark.parametrize(
        ("parameters", "expected"),
        [
            ({}, ["R", None, None, "N"]),
            ({"default": "?"}, ["R", "?", None, "N"]),
            ({"otherwise": "keep"}, ["R", "blue", None, "N"]),
            ({"values": [["red", "R"], [None, "none"], ["NA", None]]}, ["R", None, "none", None]),
            ({"values": [["red", "R"], [None, "none"]], "default": "?"}, ["R", "?", "none", "?"]),
        ],
    )
    def test_a_value_becomes_the_one_beside_it(self, parameters: dict[str, Any], expected: list[Any]) -> None:
        contract = contract_of({**TO_CODE, **parameters}, fields=FIELDS[:3])
        assert column(transformed(contract, things("red", "blue", None, "NA")), "code") == expected

    def test_without_as_the_column_itself_changes_and_texts_stay_texts(self) -> None:
        contract = contract_of({"op": "map", "column": "colour", "values": {"NA": "null"}, "otherwise": "keep"})
        assert column(transformed(contract, things("NA", "NaN", "", None)), "colour") == ["null", "NaN", "", None]

    def test_an_error_names_record_and_value_and_leaves_the_others(self) -> None:
        contract = contract_of({**TO_CODE, "otherwise": "error"}, fields=FIELDS[:3])
        made = transformed(
            contract, [{"n": n, "colour": c} for n, c in enumerate(["red", "blue", None, "green", "NA"])]
        )
        assert column(made, "n") == [0, 2, 4]
        assert [(one.record, one.step, one.code, one.field) for one in made.failed] == [
            (1, (0, "map"), "not_in_values", "colour"),
            (3, (0, "map"), "not_in_values", "colour"),
        ]
        assert "blue" in made.failed[0].reason

    @pytest.mark.parametrize(
        ("type_", "values", "wanted"),
        [
            ("integer", {str(2**53 + 1): 7, "-1": 2**63 - 1}, {2**53 + 1: 7, -1: 2**63 - 1, 2**53: None}),
            ("decimal", {"1.50": 1, "2": 3}, {Decimal("1.5"): 1, Decimal("2.00"): 3, Decimal("1.51"): None}),
            ("float", {"0.0": 1, "1e-7": 2}, {-0.0: 1, 1e-7: 2, 5e-324: None}),
            ("boolean", {"true": 1}, {True: 1, False: None}),
            ("date", {"2026-01-31": 1}, {dt.date(2026, 1, 31): 1, dt.date(2026, 2, 1): None}),
            ("duration", {"PT60M": 1, "PT0S": 2}, {3_600_000_000: 1, 0: 2, 3_600_000_001: None}),
            (
                "timestamp",
                {"2026-01-31T12:00:00+01:00": 1},
                {dt.datetime(2026, 1, 31, 11, tzinfo=dt.UTC): 1, dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC): None},
            ),
            ("uuid", {str(uuid.UUID(int=5)).upper(): 1}, {uuid.UUID(int=5): 1, uuid.UUID(int=6): None}),
        ],
    )
    def test_keys_are_values_of_the_columns_type(self, type_: str, values: Any, wanted: dict[Any, Any]) -> None:
        fields = [FIELDS[0], {"name": "v", "type": type_}, FIELDS[3]]
        contract = contract_of({"op": "map", "column": "v", "as": "size", "values": values}, fields=fields)
        made = transformed(contract, [{"n": n, "v": value} for n, value in enumerate(wanted)])
        assert column(made, "size") == list(wanted.values())

    def test_answers_may_be_of_every_type(self) -> None:
        answers: dict[str, Any] = {
            "decimal": "1.50",
            "json": {"a": [1, None]},
            "uuid": str(uuid.UUID(int=5)),
            "vector": [1.0, 2.5],
            "timestamp": "2026-01-31T11:00:00.000001Z",
            "boolean": False,
        }
        for type_, answer in answers.items():
            dimensions = {"dimensions": 2} if type_ == "vector" else {}
            field = {"name": "made", "type": type_, "computed": True, **dimensions}
            step = {"op": "map", "column": "colour", "as": "made", "values": {"red": answer}}
            contract = contract_of(step, fields=[*FIELDS[:2], field])
            made = transformed(contract, [{"n": 0, "colour": "red"}, {"n": 1, "colour": "blue"}])
            found = [TYPES[type_].from_arrow(contract.field("made"), value) for value in made.table.column("made")]
            assert found == [answer, None]


class TestFilter:
    def test_what_the_condition_does_not_find_is_dropped(self) -> None:
        contract = contract_of({"op": "filter", "where": {"colour": {"ne": "red"}}})
        made = transformed(
            contract, [{"n": n, "colour": colour} for n, colour in enumerate(["red", "blue", None, "x"])]
        )
        assert column(made, "n") == [1, 3]
        assert made.origins.tolist() == [1, 3]

    @pytest.mark.parametrize(("where", "kept"), [({}, 2), ({"not": {}}, 0), ({"or": [{"not": {}}, {}]}, 2)])
    def test_a_filter_without_columns_is_the_same_for_all(self, where: dict[str, Any], kept: int) -> None:
        contract = contract_of({"op": "filter", "where": where})
        assert transformed(contract, [{"n": 0}, {"n": 1}]).table.num_rows == kept

    def test_it_sees_the_columns_of_the_steps_before_it_and_dropped_records_stay_dropped(self) -> None:
        steps = [TO_CODE, {"op": "filter", "where": {"code": {"null": False}}}, {**TO_CODE, "otherwise": "error"}]
        made = transformed(contract_of(*steps, fields=FIELDS[:3]), [{"n": 0, "colour": "x"}, {"n": 1, "colour": "red"}])
        assert (column(made, "n"), made.origins.tolist(), list(made.failed)) == ([1], [1], [])


class TestRun:
    def test_exact_values_pass_unchanged(self) -> None:
        fields = [
            FIELDS[0],
            *({"name": name, "type": name} for name in ("text", "integer", "decimal", "timestamp", "json", "uuid")),
            {"name": "vector", "type": "vector", "dimensions": 2},
        ]
        contract = contract_of({"op": "filter", "where": {}}, DOUBLE, fields=fields, key=[])
        rows: list[dict[str, Any]] = [
            {"n": 1, "text": "NA", "integer": 2**53 + 1, "decimal": Decimal("1.50"), "json": {"a": 1}},
            {"n": 2, "timestamp": dt.datetime(9999, 12, 31, 23, 59, 59, 999999, dt.UTC), "vector": [0.1, -0.0]},
            {"n": 3, "uuid": uuid.UUID(int=3)},
        ]
        blank = dict.fromkeys(field.name for field in contract.fields)
        before = to_table(contract.input_columns, [{**blank, **row} for row in rows])
        made = transformed(contract, rows)
        assert made.table.equals(before.take(pa.array([0, 0, 1, 1, 2, 2])))

    def test_rows_of_one_record_are_numbered_within_it(self) -> None:
        origins, ords = np.array([0, 0, 2, 3, 3, 3]), np.array([5, 6, 9, 2**40])
        numbers = number_outputs(origins, ords, multiplied=True)
        assert [divmod(number, 2**20) for number in numbers.tolist()] == [
            (5, 0), (5, 1), (9, 0), (2**40, 0), (2**40, 1), (2**40, 2),
        ]  # fmt: skip
        assert number_outputs(np.array([1, 3]), ords, multiplied=False).tolist() == [6, 2**40]

    def test_a_record_of_which_one_row_fails_has_none(self) -> None:
        step = {"op": "map", "column": "colour", "values": {"red": "R"}, "otherwise": "error"}
        made = transformed(contract_of(DOUBLE, step, key=[]), [{"n": 0, "colour": "blue"}, {"n": 1, "colour": "red"}])
        assert column(made, "n") == [1, 1]
        assert [one.record for one in made.failed] == [0]


_steps = st.lists(
    st.sampled_from(
        [
            {"op": "map", "column": "colour", "values": {"a": "b", "b": "c"}, "otherwise": "keep"},
            {"op": "map", "column": "colour", "values": {"a": "b"}, "otherwise": "error"},
            {"op": "map", "column": "colour", "values": [["b", "a"], [None, "c"]], "default": "d"},
            {"op": "filter", "where": {"colour": {"in": ["a", "b"]}}},
            {"op": "filter", "where": {"not": {"colour": "c"}}},
            {"op": "filter", "where": {"n": {"lt": 12}}},
            DOUBLE,
        ]
    ),
    max_size=5,
)


def _plainly(steps: list[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]] | None:
    """One record read plainly: its rows, none if a filter took it, None if a step failed on it."""
    rows = [row]
    for step in steps:
        if step == DOUBLE:
            rows = [copy for one in rows for copy in (one, one)]
        elif step["op"] == "filter":
            rows = [one for one in rows if _kept(step["where"], one)]
        else:
            pairs = dict(step["values"])
            made = []
            for one in rows:
                colour = one["colour"]
                if colour not in pairs and colour is not None and step.get("otherwise") == "error":
                    return None
                missing = colour if step.get("otherwise") == "keep" or colour is None else step.get("default")
                made.append({**one, "colour": pairs.get(colour, missing)})
            rows = made
    return rows


def _kept(where: dict[str, Any], row: dict[str, Any]) -> bool:
    if "n" in where:
        return bool(row["n"] < 12)
    return row["colour"] in ("a", "b") if "colour" in where else row["colour"] not in ("c", None)


@given(
    steps=_steps,
    colours=st.lists(st.sampled_from(["a", "b", "c", "d", None]), max_size=20),
    cuts=st.sets(st.integers(0, 20), max_size=4),
)
def test_however_a_batch_is_cut_its_rows_are_those_of_a_plain_reading(
    steps: list[dict[str, Any]], colours: list[str | None], cuts: set[int]
) -> None:
    contract = contract_of(*steps, key=[] if DOUBLE in steps else ["n"])
    rows = things(*colours)
    plain = [_plainly(steps, row) for row in rows]
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut < len(rows))})
    made: list[dict[str, Any]] = []
    failed: list[int] = []
    numbers: list[int] = []
    for start, end in itertools.pairwise(edges):
        part = transformed(contract, rows[start:end])
        made += part.table.to_pylist()
        failed += [start + one.record for one in part.failed]
        numbers += number_outputs(part.origins, np.arange(start, end), DOUBLE in steps).tolist()
    assert made == [row for found in plain for row in found or ()]
    assert failed == [n for n, found in enumerate(plain) if found is None]
    factor = 2**20 if DOUBLE in steps else 1
    assert numbers == [n * factor + place for n, found in enumerate(plain) for place in range(len(found or ()))]


class TestContract:
    @pytest.mark.parametrize(
        ("body", "pointer", "code", "said"),
        [
            ({"pipeline": [{"op": "mop"}]}, "/pipeline/0/op", "unknown_step", "lag, map, melt"),
            ({"pipeline": [{}]}, "/pipeline/0/op", "missing", "op"),
            ({"pipeline": ["map"]}, "/pipeline/0", "wrong_type", "map"),
            ({"pipeline": [{"op": "filter"}]}, "/pipeline/0/where", "missing", "where"),
            ({"pipeline": [{**TO_CODE, "tabel": 1}]}, "/pipeline/0/tabel", "unknown_member", "values"),
            ({"pipeline": [{**TO_CODE, "a/b~": 1}]}, "/pipeline/0/a~1b~0", "unknown_member", "values"),
            ({"pipeline": [{**TO_CODE, "column": "color"}]}, "/pipeline/0/column", "unknown_column", "n, colour"),
            ({"pipeline": [{**TO_CODE, "values": {}}]}, "/pipeline/0/values", "out_of_range", "0 pairs"),
            ({"pipeline": [{**TO_CODE, "values": {"red": 3}}]}, "/pipeline/0/values/red", "wrong_type", "3"),
            ({"pipeline": [{**TO_CODE, "type": "vector"}]}, "/pipeline/0/type", "unknown_value", "text"),
            (
                {"pipeline": [{**TO_CODE, "values": [["red", "R"], ["red", "S"]]}]},
                "/pipeline/0/values/1/0",
                "duplicate",
                "red",
            ),
            (
                {"pipeline": [TO_CODE, {"op": "map", "column": "cod", "values": {"R": "r"}}]},
                "/pipeline/1/column",
                "unknown_column",
                "n, colour, code",
            ),
            (
                {"pipeline": [{**TO_CODE, "otherwise": "error", "default": "x"}]},
                "/pipeline/0/default",
                "not_applicable",
                "error",
            ),
            (
                {
                    "pipeline": [{**TO_CODE, "as": "size", "values": {"red": 1}, "otherwise": "keep"}],
                    "fields": [*FIELDS[:2], FIELDS[3]],
                },
                "/pipeline/0/otherwise",
                "wrong_type",
                "integer",
            ),
            (
                {"pipeline": [{"op": "filter", "where": {"hue": 1}}]},
                "/pipeline/0/where/hue",
                "unknown_field",
                "n, colour",
            ),
            (
                {"pipeline": [{"op": "filter", "where": {"n": {"prefix": "1"}}}]},
                "/pipeline/0/where/n/prefix",
                "unknown_operator",
                "eq",
            ),
            ({"fields": FIELDS[:3]}, "/fields/2/computed", "not_filled", "code"),
            ({"input": ["n"]}, "/input", "not_filled", "colour"),
            ({"input": ["n", "colour", "hue"]}, "/input/2", "unknown_field", "n, colour"),
            ({"input": ["n", "colour", "n"]}, "/input/2", "duplicate", "n"),
            ({"input": ["n", {"name": "colour", "type": "text"}]}, "/input/1/name", "duplicate", "colour"),
            ({"input": ["n", "colour", {"name": "x", "type": "txt"}]}, "/input/2/type", "unknown_value", "txt"),
            (
                {"input": ["n", "colour", {"name": "x", "type": "text", "computed": True}]},
                "/input/2/computed",
                "not_applicable",
                "x",
            ),
            (
                {"fields": FIELDS[:3], "input": ["n", "colour", "code"], "pipeline": [TO_CODE]},
                "/input/2",
                "computed_field",
                "code",
            ),
            (
                {"pipeline": [{"op": "map", "column": "colour", "as": "n", "values": {"red": 1}}]},
                "/pipeline/0",
                "key_field",
                "n",
            ),
            (
                {"pipeline": [{**TO_CODE, "as": "note"}], "fields": [*FIELDS[:2], {"name": "note", "type": "text"}]},
                "/pipeline/0",
                "not_computed",
                "note",
            ),
            (
                {"pipeline": [{**TO_CODE, "type": "integer", "values": {"red": 1}}], "fields": FIELDS[:3]},
                "/pipeline/0",
                "wrong_type",
                "integer",
            ),
            (
                {
                    "fields": [{**FIELDS[0], "computed": True}, FIELDS[1]],
                    "pipeline": [{**TO_CODE, "as": "n", "values": {"red": 1}}],
                },
                "/key/0",
                "computed_key",
                "n",
            ),
            ({"pipeline": [{**TO_CODE, "as": "_seq"}]}, "/pipeline/0", "reserved_name", "_seq"),
        ],
    )
    def test_a_pipeline_that_cannot_work_is_refused_where_it_is_wrong(
        self, body: dict[str, Any], pointer: str, code: str, said: str
    ) -> None:
        with pytest.raises(Invalid) as refused:
            parse_contract({**BODY, **body}, steps=STEPS)
        found = [(v.pointer, v.code) for v in refused.value.violations]
        assert (pointer, code) in found
        assert said in refused.value.violations[found.index((pointer, code))].reason

    def test_it_is_stored_and_read_back_whole(self) -> None:
        steps = [{**TO_CODE, "values": [["red", "R"], [None, None]], "default": None}]
        contract = contract_of(*steps, fields=FIELDS[:3], input=["n", "colour", {"name": "raw", "type": "text"}])
        stored = contract.as_json()
        assert stored["pipeline"] == steps
        again = load_contract(stored)
        assert (again, hash(again)) == (contract, hash(contract))
        assert [field.name for field in again.input_columns] == ["n", "colour", "raw"]

    def test_a_contract_without_them_says_nothing_of_them(self) -> None:
        stored = parse_contract(BODY).as_json()
        assert not {"pipeline", "input"} & stored.keys()
        assert not any("computed" in field for field in stored["fields"])

    def test_two_kinds_of_steps_of_one_name_are_a_mistake(self) -> None:
        kind = STEPS.get("map")
        assert kind is not None
        with pytest.raises(ValueError, match="map"):
            StepRegistry([kind, kind])
