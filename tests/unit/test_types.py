"""The type map: what each contract type accepts, what it makes of it, and what it says about what it refuses."""

import datetime as dt
import json
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import SchemaValidator, ValidationError
from tests.support.values import CASES

from gristmill.datasets.contract import EmbeddingColumn, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.json import dump_json

PNG = "iVBORw0KGgoAAAA="
UTC = dt.UTC


def field(type_: Any, **limits: Any) -> FieldSpec:
    return FieldSpec(name="x", type=type_, **limits)


def judge(spec: FieldSpec, text: str) -> Any:
    """Return the canonical value of a JSON text, or the code of its refusal; JSON and Python mode must agree."""
    kind = TYPES[spec.type]
    try:
        value = SchemaValidator(kind.schema(spec)).validate_json(text)
    except ValidationError as error:
        code, reason = kind.explain(spec, error.errors()[0])
        assert reason
        assert len(reason) < 400
        with pytest.raises(ValidationError):
            kind.parse(spec, json.loads(text))
        return code
    assert kind.parse(spec, json.loads(text)) == value
    return value


@pytest.mark.parametrize(
    ("limits", "text", "expected"),
    [
        # text
        ({"type_": "text", "max_length": 3}, '"äöü"', "äöü"),
        ({"type_": "text", "max_length": 3}, '"abcd"', "too_long"),
        ({"type_": "text"}, '""', ""),
        ({"type_": "text"}, '"a\\nb"', "a\nb"),
        ({"type_": "text"}, '"a\\u0000b"', "nul"),
        ({"type_": "text"}, "1", "wrong_type"),
        ({"type_": "text"}, json.dumps("x" * 65_536), "x" * 65_536),
        ({"type_": "text"}, json.dumps("x" * 65_537), "too_long"),
        # integer
        ({"type_": "integer"}, "9223372036854775807", 2**63 - 1),
        ({"type_": "integer"}, "9223372036854775808", "out_of_range"),
        ({"type_": "integer"}, "-9223372036854775809", "out_of_range"),
        ({"type_": "integer"}, "1" + "0" * 300, "out_of_range"),
        ({"type_": "integer"}, "1.0", "wrong_type"),
        ({"type_": "integer"}, '"1"', "wrong_type"),
        ({"type_": "integer"}, "true", "wrong_type"),
        ({"type_": "integer", "minimum": 0, "maximum": 10}, "10", 10),
        ({"type_": "integer", "minimum": 0, "maximum": 10}, "11", "out_of_range"),
        # float
        ({"type_": "float"}, "1", 1.0),
        ({"type_": "float"}, "-1.5e3", -1500.0),
        ({"type_": "float"}, "1e999", "not_finite"),
        ({"type_": "float"}, "NaN", "not_finite"),
        ({"type_": "float"}, "true", "wrong_type"),
        ({"type_": "float"}, '"1.5"', "wrong_type"),
        ({"type_": "float", "maximum": 60}, "60.1", "out_of_range"),
        # decimal
        ({"type_": "decimal"}, '"12.50"', Decimal("12.50")),
        ({"type_": "decimal"}, "12", Decimal(12)),
        ({"type_": "decimal"}, '"1e5"', Decimal(100_000)),
        ({"type_": "decimal"}, '"0e-30"', Decimal(0)),
        ({"type_": "decimal"}, "12.5", "decimal_from_float"),
        ({"type_": "decimal"}, '"NaN"', "not_a_decimal"),
        ({"type_": "decimal"}, '"Infinity"', "not_a_decimal"),
        ({"type_": "decimal"}, '"1_000"', "not_a_decimal"),
        ({"type_": "decimal"}, '" 1"', "not_a_decimal"),
        ({"type_": "decimal"}, '"٣"', "not_a_decimal"),
        ({"type_": "decimal"}, '""', "not_a_decimal"),
        ({"type_": "decimal"}, json.dumps("9" * 38), Decimal("9" * 38)),
        ({"type_": "decimal"}, json.dumps("9" * 39), "too_many_digits"),
        ({"type_": "decimal"}, '"1e38"', "too_many_digits"),
        ({"type_": "decimal"}, '"1e-39"', "too_many_digits"),
        ({"type_": "decimal"}, "true", "wrong_type"),
        ({"type_": "decimal", "precision": 5, "scale": 2}, '"999.99"', Decimal("999.99")),
        ({"type_": "decimal", "precision": 5, "scale": 2}, '"1.500"', Decimal("1.50")),
        ({"type_": "decimal", "precision": 5, "scale": 2}, '"1.505"', "too_many_digits"),
        ({"type_": "decimal", "precision": 5, "scale": 2}, '"1000"', "too_many_digits"),
        ({"type_": "decimal", "minimum": "0.5"}, '"0.4"', "out_of_range"),
        # boolean
        ({"type_": "boolean"}, "true", True),
        ({"type_": "boolean"}, "1", "wrong_type"),
        ({"type_": "boolean"}, '"true"', "wrong_type"),
        # timestamp
        ({"type_": "timestamp"}, '"2026-01-01T00:00:00Z"', dt.datetime(2026, 1, 1, tzinfo=UTC)),
        ({"type_": "timestamp"}, '"2026-01-01T05:30:00.000001+05:30"', dt.datetime(2026, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        ({"type_": "timestamp"}, '"9999-12-31T23:59:59.999999Z"', dt.datetime.max.replace(tzinfo=UTC)),
        ({"type_": "timestamp"}, '"2026-01-01T00:00:00.1234567Z"', "not_a_timestamp"),
        ({"type_": "timestamp"}, '"2026-01-01T00:00:00"', "not_a_timestamp"),
        ({"type_": "timestamp"}, '"2026-01-01"', "not_a_timestamp"),
        ({"type_": "timestamp"}, '"1700000000"', "not_a_timestamp"),
        ({"type_": "timestamp"}, "1700000000", "wrong_type"),
        ({"type_": "timestamp"}, '"2026-02-30T00:00:00Z"', "not_a_timestamp"),
        ({"type_": "timestamp"}, '"10000-01-01T00:00:00Z"', "not_a_timestamp"),
        ({"type_": "timestamp"}, '"0001-01-01T00:00:00+01:00"', "out_of_range"),
        ({"type_": "timestamp"}, '"9999-12-31T23:59:59-01:00"', "out_of_range"),
        ({"type_": "timestamp", "minimum": "2026-01-01T00:00:00Z"}, '"2026-01-01T00:30:00+01:00"', "out_of_range"),
        # timestamp with a zone: a time that the clock skipped, one it showed twice, and ordinary ones
        (
            {"type_": "timestamp", "zone": "Europe/Berlin"},
            '"2026-07-01T02:00:00"',
            dt.datetime(2026, 7, 1, tzinfo=UTC),
        ),
        ({"type_": "timestamp", "zone": "Europe/Berlin"}, '"2026-03-29T02:30:00"', "local_time"),
        ({"type_": "timestamp", "zone": "Europe/Berlin"}, '"2026-10-25T02:30:00"', "local_time"),
        (
            {"type_": "timestamp", "zone": "Europe/Berlin"},
            '"2026-10-25T02:30:00+01:00"',
            dt.datetime(2026, 10, 25, 1, 30, tzinfo=UTC),
        ),
        ({"type_": "timestamp", "zone": "Europe/Berlin"}, '"0001-01-01T00:00:00"', "out_of_range"),
        # date
        ({"type_": "date"}, '"2026-01-31"', dt.date(2026, 1, 31)),
        ({"type_": "date"}, '"2026-02-30"', "not_a_date"),
        ({"type_": "date"}, '"2026-01-31T00:00:00Z"', "not_a_date"),
        ({"type_": "date"}, '"0000-01-01"', "not_a_date"),
        ({"type_": "date", "maximum": "2026-01-31"}, '"2026-02-01"', "out_of_range"),
        # uuid
        (
            {"type_": "uuid"},
            '"0192F0C2-7D3A-7000-8000-0123456789AB"',
            uuid.UUID("0192f0c2-7d3a-7000-8000-0123456789ab"),
        ),
        ({"type_": "uuid"}, '"0192f0c27d3a700080000123456789ab"', "not_a_uuid"),
        ({"type_": "uuid"}, '"urn:uuid:0192f0c2-7d3a-7000-8000-0123456789ab"', "not_a_uuid"),
        # json
        ({"type_": "json"}, '{"a":[1,2.5,null,{"b":"c"}]}', {"a": [1, 2.5, None, {"b": "c"}]}),
        ({"type_": "json"}, '{"a\\u0000":1}', "nul"),
        ({"type_": "json"}, '["a\\u0000"]', "nul"),
        ({"type_": "json"}, '{"a":1e999}', "not_finite"),
        ({"type_": "json"}, "[" * 32 + "]" * 32, json.loads("[" * 32 + "]" * 32)),
        ({"type_": "json"}, "[" * 33 + "]" * 33, "too_deep"),
        # vector
        ({"type_": "vector", "dimensions": 2}, "[1, -0.5]", [1.0, -0.5]),
        ({"type_": "vector", "dimensions": 2}, "[1]", "wrong_length"),
        ({"type_": "vector", "dimensions": 2}, "[]", "wrong_length"),
        ({"type_": "vector", "dimensions": 2}, "[1, 2, 3]", "wrong_length"),
        ({"type_": "vector", "dimensions": 2}, '[1, "2"]', "wrong_type"),
        ({"type_": "vector", "dimensions": 2}, "[1, 1e39]", "out_of_range"),
        ({"type_": "vector", "dimensions": 2}, "[1, NaN]", "not_finite"),
        # image
        ({"type_": "image", "max_bytes": 11}, json.dumps(PNG), b"\x89PNG\r\n\x1a\n\0\0\0"),
        ({"type_": "image", "max_bytes": 10}, json.dumps(PNG), "too_large"),
        ({"type_": "image"}, '"AAAA"', "not_an_image"),
        ({"type_": "image"}, '"iVBORw0KGgoAAAA"', "not_base64"),
        ({"type_": "image"}, '"ä"', "not_base64"),
        *(
            ({"type_": name, **limits}, text, value)
            for name, case in CASES.items()
            for limits, text, value in case.examples
        ),
    ],
)
def test_a_value_is_taken_as_it_is_or_refused_with_a_code(limits: dict[str, Any], text: str, expected: Any) -> None:
    value = judge(field(**limits), text)
    assert value == expected
    assert type(value) is type(expected)


class TestEmbedding:
    """Vectors that are searched by must be ones that distances can be computed with."""

    @pytest.mark.parametrize(
        ("vector", "metric", "code"),
        [
            ([0, 0], "cosine", "zero_vector"),
            ([1e-30, 0], "cosine", "zero_vector"),
            ([1e30, 0], "l2", "out_of_range"),
            ([0, 0], "l2", None),
            ([3, 4], "cosine", None),
        ],
    )
    def test_its_length_must_fit_the_metric(self, vector: list[float], metric: Any, code: str | None) -> None:
        column = EmbeddingColumn(name="_embedding", type="vector", dimensions=2, metric=metric, storage="vector")
        validator = SchemaValidator(TYPES["vector"].schema(column))
        if code is None:
            assert validator.validate_json(json.dumps(vector)) == vector
            return
        with pytest.raises(ValidationError) as caught:
            validator.validate_json(json.dumps(vector))
        assert caught.value.errors()[0]["type"] == code


class TestExplain:
    def test_shows_the_value_and_what_would_be_valid(self) -> None:
        spec = field("integer", minimum=0, maximum=10)
        with pytest.raises(ValidationError) as caught:
            TYPES["integer"].parse(spec, 11)
        code, reason = TYPES["integer"].explain(spec, caught.value.errors()[0])
        assert (code, reason) == ("out_of_range", "11 is not an integer from 0 to 10")

    def test_names_the_number_of_a_vector_that_is_wrong(self) -> None:
        spec = field("vector", dimensions=3)
        with pytest.raises(ValidationError) as caught:
            TYPES["vector"].parse(spec, [1, 2, "3"])
        reason = TYPES["vector"].explain(spec, caught.value.errors()[0])[1]
        assert reason == 'number 2 of the list, "3", is not a finite number that fits a 32-bit float'

    @pytest.mark.parametrize("value", ["x" * 10_000, ["y"] * 10_000, {"z": float("nan")}, "\ud800", b"bytes"])
    def test_a_shown_value_is_short_and_plain(self, value: Any) -> None:
        shown = shorten(value)
        assert len(shown) <= 80
        shown.encode("ascii", "replace").decode()
        assert "\n" not in shown


class TestText:
    """CSV cells."""

    @pytest.mark.parametrize(
        ("type_", "cell", "expected"),
        [
            ("integer", "-5", -5),
            ("integer", "5.0", "5.0"),
            ("integer", "NaN", "NaN"),
            ("float", "1e3", 1000.0),
            ("float", "NaN", "NaN"),
            ("float", "inf", "inf"),
            ("boolean", "true", True),
            ("boolean", "TRUE", "TRUE"),
            ("decimal", "1.50", "1.50"),
            ("json", '{"a": 1}', {"a": 1}),
            ("vector", "[1, 2]", [1, 2]),
            ("text", "x", "x"),
        ],
    )
    def test_a_cell_becomes_a_value_or_stays_itself_to_be_refused(self, type_: str, cell: str, expected: Any) -> None:
        value = TYPES[type_].from_text(field(type_), cell)
        assert value == expected
        assert type(value) is type(expected)

    @pytest.mark.parametrize("cell", ["{", "NaN", "[" * 1000])
    def test_a_cell_that_should_be_json_and_is_not_raises(self, cell: str) -> None:
        with pytest.raises(ValueError, match="not JSON"):
            TYPES["json"].from_text(field("json"), cell)


class TestOutput:
    def test_canonical_values_print_as_they_were_sent(self) -> None:
        assert TYPES["timestamp"].to_json(dt.datetime(1, 1, 1, tzinfo=UTC)) == "0001-01-01T00:00:00Z"
        assert TYPES["timestamp"].to_json(dt.datetime(2026, 1, 1, 0, 0, 0, 120, UTC)) == "2026-01-01T00:00:00.000120Z"
        assert TYPES["decimal"].to_json(Decimal("1E-38")) == "0." + "0" * 37 + "1"
        assert TYPES["vector"].to_json([0.1, 1 / 3]) == [0.1, 0.33333334]
        assert TYPES["image"].to_json(memoryview(b"\x89PNG\r\n\x1a\n\0\0\0")) == PNG
        assert TYPES["uuid"].to_json(uuid.UUID(int=10)) == "00000000-0000-0000-0000-00000000000a"
        assert all(kind.to_json(None) is None for kind in TYPES.values())

    @given(st.decimals(allow_nan=False, allow_infinity=False))
    def test_decimals_come_back_equal_or_are_refused(self, number: Decimal) -> None:
        value = judge(field("decimal"), json.dumps(str(number)))
        if isinstance(value, Decimal):
            assert value == number
            assert Decimal(TYPES["decimal"].to_json(value)) == number
        else:
            assert value == "too_many_digits"

    @given(st.datetimes(timezones=st.timezones()))
    def test_timestamps_come_back_as_the_same_instant(self, moment: dt.datetime) -> None:
        text = moment.isoformat()
        offset = moment.utcoffset()
        # Old local mean times have offsets with seconds, which ISO 8601 cannot write.
        if offset is not None and offset.total_seconds() % 60:
            assert judge(field("timestamp"), json.dumps(text)) == "not_a_timestamp"
            return
        value = judge(field("timestamp"), json.dumps(text))
        if isinstance(value, dt.datetime):
            assert value == dt.datetime.fromisoformat(text)
            assert dt.datetime.fromisoformat(TYPES["timestamp"].to_json(value)) == value
        else:
            assert value == "out_of_range"

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=10,
        )
    )
    def test_dumped_json_parses_to_the_same_value(self, value: Any) -> None:
        assert json.loads(dump_json(value)) == value
        assert "e+" not in dump_json([1e23, 1.5e300])


def test_every_type_is_documented() -> None:
    page = (Path(__file__).parents[2] / "docs" / "types.md").read_text()
    assert [name for name in TYPES if f"\n## {name}\n" not in page] == []
