"""Members that are no fields: passed over or collected, in every format."""

import json
from typing import Any

import pyarrow as pa
import pytest
from tests.support.columnar import as_parquet, as_stream
from tests.support.unknown import COLLECT, IGNORE, read

from gristmill.core.errors import GristmillError
from gristmill.datasets.contract import Contract
from gristmill.records.columns import GIVEN_COLUMN
from gristmill.records.readers.arrow import read_arrow
from gristmill.records.readers.context import Reader
from gristmill.records.readers.csv import read_csv
from gristmill.records.readers.json import read_json
from gristmill.records.readers.ndjson import read_ndjson
from gristmill.records.readers.parquet import read_parquet
from gristmill.records.validation.rows import changes_validator_of, validator_of
from gristmill.records.validation.unknown import MAX_MEMBERS, MAX_NAME

CODE = {"name": "code", "type": "text", "computed": True}


def computing(unknown: str) -> Contract:
    """A contract with a computed field, of a pipeline that nobody runs here."""
    body = {"collect": COLLECT, "ignore": IGNORE}[unknown].as_json()
    return Contract.model_validate_json(json.dumps({**body, "fields": [*body["fields"], CODE]}))


def extras(reader: Reader, body: bytes, contract: Contract = COLLECT) -> list[Any]:
    rows, rejects = read(reader, body, contract)
    assert not rejects, rejects[0].violations
    return [None if row["_extra"] is None else json.loads(row["_extra"]) for _, row in rows]


def mistakes(reader: Reader, body: bytes, contract: Contract = COLLECT) -> list[tuple[str, str]]:
    """Return pointer and code of what is wrong: with records, or with the body as a whole."""
    try:
        _, rejects = read(reader, body, contract)
    except GristmillError as error:
        return [(one.pointer, one.code) for one in error.violations]  # type: ignore[attr-defined]
    return [(one.pointer, one.code) for reject in rejects for one in reject.violations]


def line(record: Any) -> bytes:
    return json.dumps(record).encode()


class TestJson:
    def test_members_are_kept_as_they_were_sent(self) -> None:
        records = [
            {"n": 1, "colour": "red", "size": {"w": [1, 2.5, None]}, "gone": None},
            {"n": 2},
            {"n": 3, "_extra": {"colour": "old", "kept": 1}, "colour": "new"},
            {"n": 4, "_extra": {}},
            {"n": 5, "_extra": None, "a": 1},
        ]
        expected = [
            {"colour": "red", "size": {"w": [1, 2.5, None]}, "gone": None},
            None,
            {"colour": "new", "kept": 1},
            None,
            {"a": 1},
        ]
        assert extras(read_json, line(records)) == expected
        assert extras(read_ndjson, b"\n".join(map(line, records))) == expected
        # What was read back and is sent again stays as it is.
        again = [{"n": n, "_extra": extra} for n, extra in enumerate(expected)]
        assert extras(read_json, line(again)) == expected

    def test_ignored_members_leave_no_trace(self) -> None:
        rows, rejects = read(read_json, line([{"n": 1, "x": {"y": 1}}, {"t": "a", "_extra": 5}]), IGNORE)
        assert not rejects
        assert [row for _, row in rows] == [{"n": 1, "t": None}, {"n": None, "t": "a"}]

    @pytest.mark.parametrize(
        ("member", "code"),
        [
            (b'"\\u0000"', "nul"),
            (b'{"a": ["\\u0000"]}', "nul"),
            (b'{"\\u0000": 1}', "nul"),
            (b"[NaN]", "not_finite"),
            (b"-Infinity", "not_finite"),
            (b"1" + b"0" * 1100, "out_of_range"),
            (b'"\\ud800"', "bad_unicode"),
        ],
    )
    @pytest.mark.parametrize("where", [b'{"n": 1, "colour": %s}', b'{"n": 1, "_extra": {"colour": %s}}'])
    def test_values_obey_the_rules_of_json_and_are_named_by_their_member(
        self, member: bytes, code: str, where: bytes
    ) -> None:
        place = "/3/_extra/colour" if b"_extra" in where else "/3/colour"
        body = b"[{},{},{}," + where % member + b",{}]"
        found = mistakes(read_json, body)
        assert found == [(place, code)]
        assert mistakes(read_ndjson, b"{}\n{}\n{}\n" + where % member) == found

    def test_values_nest_as_deeply_beside_extra_as_within_it(self) -> None:
        value: Any = None
        for _ in range(32):
            value = [value]
        assert extras(read_json, line([{"v": value}, {"_extra": {"v": value}}])) == [{"v": value}] * 2
        assert mistakes(read_json, line([{"v": [value]}])) == [("/0/v", "too_deep")]
        # Beyond what any record may nest, its text is not parsed.
        assert mistakes(read_json, line([{"v": [[value]]}])) == [("/0", "too_deep")]
        assert mistakes(read_json, line([{"v": [[value]]}]), IGNORE) == [("/0", "too_deep")]

    @pytest.mark.parametrize("extra", [5, "x", [1], True])
    def test_an_extra_that_is_no_object_is_refused(self, extra: Any) -> None:
        assert mistakes(read_json, line([{"_extra": extra}])) == [("/0/_extra", "wrong_type")]
        validator = validator_of(COLLECT)
        with pytest.raises(GristmillError, match="is not an object: _extra holds the members that are no fields"):
            validator.validate_changes(line({"_extra": extra}))

    def test_their_number_and_the_length_of_their_names_are_limited(self) -> None:
        most = {f"a{number}": number for number in range(MAX_MEMBERS)}
        assert extras(read_json, line([most])) == [most]
        assert mistakes(read_json, line([{**most, "b": 1}])) == [("/0", "too_many")]
        assert mistakes(read_json, line([{"_extra": most, "b": 1}])) == [("/0", "too_many")]
        assert mistakes(read_json, line([{"_extra": {**most, "b": 1}}])) == [("/0/_extra", "too_many")]
        longest = "é" * MAX_NAME
        assert extras(read_json, line([{longest: 1}])) == [{longest: 1}]
        assert mistakes(read_json, line([{longest + "x": 1}])) == [(f"/0/{longest[:79]}…", "too_long")]
        assert mistakes(read_json, b'[{"a\\u0000": 1}]') == [("/0/a\0", "nul")]
        with pytest.raises(GristmillError, match="There are 1001 members that are no fields: at most 1000"):
            validator_of(COLLECT).validate_changes(line({"_extra": {**most, "b": 1}}))

    @pytest.mark.parametrize("unknown", ["collect", "ignore"])
    def test_a_computed_field_is_never_taken_for_an_unknown_one(self, unknown: str) -> None:
        contract = computing(unknown)
        assert mistakes(read_json, line([{"n": 1, "code": "x"}]), contract) == [("/0/code", "computed_field")]
        assert mistakes(read_csv, b"n,code\n1,x\n", contract) == [("/code", "computed_field")]
        table = as_stream(pa.table({"n": [1], "code": ["x"]}))
        assert mistakes(read_arrow, table, contract) == [("/code", "computed_field")]

    @pytest.mark.parametrize("contract", [COLLECT, IGNORE])
    def test_changes_of_what_is_no_field_stay_refused(self, contract: Contract) -> None:
        with pytest.raises(GristmillError) as error:
            changes_validator_of(contract).validate_changes(b'{"colour": "red"}')
        assert error.value.violations[0].code == "unknown_field"  # type: ignore[attr-defined]

    def test_extra_as_a_whole_can_be_changed(self) -> None:
        changes = changes_validator_of(COLLECT)
        assert changes.validate_changes(b'{"_extra": {"a": [1]}}') == {"_extra": {"a": [1]}}
        assert changes.validate_changes(b'{"_extra": {}}') == {"_extra": None}
        assert changes.validate_changes(b'{"_extra": null}') == {"_extra": None}


class TestColumns:
    def test_cells_are_texts_and_empty_ones_are_left_out(self) -> None:
        body = b'n,colour,size\n1,red,7\n2,,\n3,"",\n4,null,{}\n'
        expected = [{"colour": "red", "size": "7"}, None, {"colour": ""}, {"colour": "null", "size": "{}"}]
        assert extras(read_csv, body) == expected

    def test_a_column_of_extra_is_json_and_the_others_are_laid_over_it(self) -> None:
        body = b'_extra,colour\n"{""colour"":1,""a"":2}",red\n"{""a"":2}",\n,\n{},\n'
        assert extras(read_csv, body) == [{"colour": "red", "a": 2}, {"a": 2}, None, None]
        assert mistakes(read_csv, b"_extra\n5\n") == [("/0/_extra", "wrong_type")]
        assert mistakes(read_csv, b"_extra\nx\n") == [("/0/_extra", "not_json")]

    @pytest.mark.parametrize("contract", [COLLECT, IGNORE])
    def test_a_header_that_makes_no_sense_stays_refused(self, contract: Contract) -> None:
        assert mistakes(read_csv, b"n,a,a\n", contract) == [("/a", "duplicate")]
        assert mistakes(read_csv, b"n;t\n", contract) == [("", "wrong_delimiter")]
        names = ",".join(f"a{number}" for number in range(MAX_MEMBERS + 1)).encode()
        assert mistakes(read_csv, b"n," + names + b"\n", contract) == [("", "too_many")]
        assert mistakes(read_csv, b"n," + b"x" * (MAX_NAME + 1) + b"\n", contract)[0][1] == "too_long"

    def test_columns_of_which_none_is_a_field_are_not_passed_over(self) -> None:
        for reader, body in (
            (read_csv, b"a,b\n1,2\n"),
            (read_arrow, as_stream(pa.table({"a": [1]}))),
            (read_parquet, as_parquet(pa.table({"a": [1]}))),
        ):
            assert mistakes(reader, body, IGNORE) == [("", "missing")]

    def test_arrow_and_parquet_keep_values_of_every_kind_that_json_has(self) -> None:
        table = pa.table(
            {
                "n": [1, 2],
                "a.b": [1.5, None],
                "text": ["[1]", None],
                "flag": [True, None],
                "list": [[1, None], None],
                "struct": [{"x": [{"y": "z"}]}, None],
                "nothing": pa.nulls(2),
                "day": pa.array([1, None], pa.date32()),
                "at": pa.array([1, None], pa.timestamp("us", "UTC")),
                "price": pa.array(["1.50", None]).cast(pa.decimal128(5, 2)),
                "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
                "word": pa.array(["w", None]).dictionary_encode(),
                "_extra": ['{"text": 1, "kept": 2}', None],
            }
        )
        expected = {
            "text": "[1]",
            "kept": 2,
            "a.b": 1.5,
            "flag": True,
            "list": [1, None],
            "struct": {"x": [{"y": "z"}]},
            "day": "1970-01-02",
            "at": "1970-01-01T00:00:00.000001Z",
            "price": "1.50",
            "map": {"k": 1},
            "word": "w",
        }
        assert extras(read_arrow, as_stream(table)) == [expected, None]
        assert extras(read_parquet, as_parquet(table)) == [expected, None]
        for reader, body in ((read_arrow, as_stream(table)), (read_parquet, as_parquet(table))):
            rows, rejects = read(reader, body, IGNORE)
            assert (rows, rejects) == ([(0, {"n": 1, "t": None}), (1, {"n": 2, "t": None})], [])

    def test_json_of_its_own_arrow_type_is_json(self) -> None:
        column = pa.ExtensionArray.from_storage(pa.json_(), pa.array(['{"a":1}', "null", None, "5"]))
        body = as_stream(pa.table({"n": [1, 2, 3, 4], "x": column}))
        assert extras(read_arrow, body) == [{"x": {"a": 1}}, None, None, {"x": 5}]

    @pytest.mark.parametrize(
        "column",
        [
            pa.array([b"x"]),
            pa.array([1], pa.time64("us")),
            pa.array([1], pa.duration("s")),
            pa.array([{"a": b"x"}]),
            pa.array([1]).dictionary_encode(),
        ],
    )
    def test_a_column_that_json_has_no_form_for_is_refused_with_what_is_valid(self, column: pa.Array) -> None:
        body = as_stream(pa.table({"n": [1], "odd/one": column}))
        assert mistakes(read_arrow, body) == [("/odd~1one", "wrong_type")]
        with pytest.raises(GristmillError, match="valid is null, bool, integers"):
            read(read_arrow, body, COLLECT)
        assert len(read(read_arrow, body, IGNORE)[0]) == 1

    def test_values_that_do_not_fit_are_named_and_kept_in_the_reject(self) -> None:
        table = pa.table({"n": [1, 2, 3], "x/y": [1.0, float("nan"), 2.0], "z": ["a", "b", "\0"]})
        for reader, body in ((read_arrow, as_stream(table)), (read_parquet, as_parquet(table))):
            assert mistakes(reader, body) == [("/1/x~1y", "not_finite"), ("/2/z", "nul")]
            rows, rejects = read(reader, body, COLLECT)
            assert [place for place, _ in rows] == [0]
            assert json.loads(rejects[1].raw) == {"n": 3, "x/y": 2.0, "z": "\0"}

    def test_partial_records_give_extra_only_where_they_give_unknown_members(self) -> None:
        body = b"n,colour\n1,red\n2,\n"
        rows = [read(read_csv, body, COLLECT, precise, True)[0] for precise in (False, True)]
        assert rows[0] == rows[1]
        assert [list(row[GIVEN_COLUMN]) for _, row in rows[0]] == [[0b101], [0b001]]
        found, _ = read(
            read_json, line([{"n": 1, "colour": 1}, {"n": 1}, {"n": 1, "_extra": None}]), COLLECT, False, True
        )
        assert [list(row[GIVEN_COLUMN]) for _, row in found] == [[0b101], [0b001], [0b101]]
