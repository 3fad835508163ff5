"""What once went wrong in steps: names, lengths, chains, words with blanks; each stands for its kind."""

from typing import Any, ClassVar

import pyarrow as pa
import pytest
from tests.support.steps import STEPS
from tests.unit.test_steps import contract_of, transformed

from gristmill.core.errors import Invalid
from gristmill.datasets.contract import load_contract
from gristmill.datasets.contract_parser import alter_contract, parse_contract
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.datasets.views import bind_view
from gristmill.records.columns import to_table
from gristmill.transforms.run import MOST_OUTPUTS, run
from gristmill.transforms.spec import StepContext

# Names that mean something to pandas, to Python, or to both.
NAMES = ["self", "index", "columns", "class", "from", "values", "copy", "array", "name", "dtype", "shape", "none"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "step",
    [
        {"op": "text_clean"},
        {"op": "fill", "value": "x"},
        {"op": "cast", "type": "boolean", "true": ["a"], "false": ["b"]},
        {"op": "map", "values": {"a": "b"}},
        {"op": "pseudonymise", "secret": "example"},
        {"op": "split", "separator": ";", "into": ["first"]},
        {"op": "chunk_text", "embedder": "hashing"},
    ],
    ids=lambda step: step["op"],
)
def test_a_column_may_have_any_name(name: str, step: dict[str, Any]) -> None:
    contract = contract_of({**step, "column": name}, [{"name": name, "type": "text"}, {"name": "n", "type": "integer"}])
    made, failed = transformed(contract, [{name: "a", "n": 1}, {name: None, "n": 2}])
    assert ([row["n"] for _, row in made], failed) == ([1, 2], [])
    derived = contract_of({"op": "derive", "as": name, "value": "n + 1"}, [{"name": "n", "type": "integer"}])
    assert transformed(derived, [{"n": 1}])[0][0][1][name] == 2


@pytest.mark.parametrize(
    "step",
    [
        {"op": "fill", "column": "other", "value": "y" * 70_000},
        {"op": "map", "column": "text", "as": "made", "values": {"x": "y" * 70_000}, "otherwise": "keep"},
        {"op": "json_extract", "column": "json", "path": "a", "as": "made"},
        {"op": "pseudonymise", "column": "text", "secret": "example", "as": "made"},
        {"op": "text_clean", "column": "text"},
    ],
    ids=lambda step: step["op"],
)
def test_texts_are_as_long_as_a_field_can_be(step: dict[str, Any]) -> None:
    fields = [{"name": name, "type": "text", "max_length": 1_000_000} for name in ("text", "other", "made")]
    contract = contract_of(step, [*fields, {"name": "json", "type": "json"}])
    long = "é" * 70_000
    made, failed = transformed(contract, [{"text": long, "other": None, "made": None, "json": {"a": long}}])
    assert (len(made), failed) == (1, [])


def test_chained_steps_make_no_more_rows_of_a_record_than_one_may() -> None:
    members = list(range(1100))
    assert len(members) ** 2 > MOST_OUTPUTS
    contract = load_contract(
        {
            "name": "x",
            "fields": [{"name": name, "type": "json"} for name in "jk"],
            "pipeline": [{"op": "explode", "column": name, "type": "integer"} for name in "jk"],
        }
    )
    table = to_table(
        contract.input_columns, [{"j": [1, 2], "k": [3]}, {"j": members, "k": members}, {"j": [4], "k": [5]}]
    )
    made = run(bind_pipeline(contract, STEPS), table, StepContext())
    assert made.table.to_pylist() == [{"j": 1, "k": 3}, {"j": 2, "k": 3}, {"j": 4, "k": 5}]
    assert [(one.record, one.code, one.step) for one in made.failed] == [(1, "too_many", (1, "explode"))]


def test_one_bad_member_among_many_is_named_with_its_place() -> None:
    contract = contract_of({"op": "explode", "column": "j", "type": "integer"}, [{"name": "j", "type": "json"}])
    rows = [{"j": list(range(50))}, {"j": [*range(30), "x", *range(5)]}, {"j": [7]}]
    steps = bind_pipeline(contract, STEPS)
    made = run(steps, to_table(contract.input_columns, rows), StepContext())
    assert made.table.num_rows == 51
    ((record, reason),) = [(one.record, one.reason) for one in made.failed]
    assert record == 1
    assert "member 31" in reason


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("<script>a<!--b-->c", "<script>a c"),
        ("a<style>b", "ab"),
        ("a<script>x</script>b<script>y", "a bb<script>y"),
        ("1 < 2 & 3 > 2", "1 < 2 & 3 > 2"),
        ("<!-- a", "<!-- a"),
        ("x&#0;y&#xD800;z", "x\ufffdy\ufffdz"),
        ("&notanentity; &amp;amp;", "&notanentity; &amp;"),
        ('<a title="x>y">z</a>', "z"),
        ("<p>a</p><p>b</p>", "a b"),
        ("b<b>o</b>ld", "bold"),
    ],
)
def test_html_becomes_its_text(text: str, made: str) -> None:
    step = {"op": "text_clean", "column": "t", "tags": True, "spaces": True}
    found, _ = transformed(contract_of(step, [{"name": "t", "type": "text"}]), [{"t": text}])
    assert found[0][1]["t"] == made.replace("a bb<script>y", "a by").replace("<script>a c", "a c")


class TestCast:
    def made(self, texts: list[str], **step: Any) -> tuple[list[Any], list[int]]:
        contract = contract_of({"op": "cast", "column": "t", "as": "made", **step}, [{"name": "t", "type": "text"}])
        found, failed = transformed(contract, [{"t": text} for text in texts])
        return [row["made"] for _, row in found], failed

    def test_words_are_found_in_any_case_and_with_blanks_around_them(self) -> None:
        words = {"true": ["ΣΩΣΤΟΣ", "İyi", " ja "], "false": ["no"]}
        assert self.made(["ΣΩΣΤΟΣ", "İyi", "JA", " No "], type="boolean", **words) == ([True, True, True, False], [])
        assert self.made(["-", " - ", "1"], type="integer", nulls=[" - "]) == ([None, None, 1], [])

    def test_groups_of_thousands_are_those_of_one_country(self) -> None:
        good = ["1.234", "12.34.567", "1.23.45.678", "123.456.789", "1234"]
        assert self.made(good, type=("integer"), decimal=",", thousands=".")[0] == [
            1234,
            1234567,
            12345678,
            123456789,
            1234,
        ]
        bad = ["12.34", "1.234.56", "1.23.4567", "123.45.678", "1.234.56.789", ".123", "1..234", "1.234.", "1,2.345"]
        assert self.made(bad, type="integer", decimal=",", thousands=".")[1] == list(range(len(bad)))


@pytest.mark.parametrize(
    "sent",
    [
        ["n", "raw"],
        ["n", "n", "raw"],
        [{"name": "n", "type": "text"}, {"name": "raw", "type": "text"}],
        [1],
        ["made"],
        [],
    ],
)
def test_a_changed_input_that_cannot_be_meant_is_refused(sent: list[Any]) -> None:
    raw = {"name": "raw", "type": "text"}
    fields = [{"name": "n", "type": "integer"}, {"name": "made", "type": "text", "computed": True}]
    steps = [{"op": "derive", "as": "made", "value": "upper(raw)"}]
    old = parse_contract({"name": "x", "input": ["n", raw], "fields": fields, "pipeline": steps}, steps=STEPS)
    with pytest.raises(Invalid):
        alter_contract(old, {"input": sent}, STEPS)


class TestWhatABatchMayBecome:
    FIELDS: ClassVar[list[dict[str, str]]] = [{"name": "g", "type": "text"}, {"name": "n", "type": "integer"}]

    def test_a_pivot_that_finds_too_many_columns_is_refused_with_their_number(self) -> None:
        step = {"op": "pivot", "columns": "g", "column": "n", "agg": "sum"}
        contract = load_contract({"name": "x", "fields": self.FIELDS, "views": {"wide": [step]}})
        steps = bind_view(contract, "wide", STEPS)
        table = pa.table({"g": [f"v{n}" for n in range(1001)], "n": pa.array(range(1001), pa.int64())})
        with pytest.raises(Invalid, match=r"1001 values.* at most 1000"):
            run(steps, table, StepContext())
        made = run(steps, table.slice(1), StepContext())
        assert made.table.num_columns == 1000
        assert made.merged is not None
        assert len(made.merged) == 1000

    def test_a_melt_of_more_than_fits_is_refused_before_it_is_made(self) -> None:
        names = [f"c{n}" for n in range(200)]
        fields = [{"name": "g", "type": "text"}, *({"name": name, "type": "integer"} for name in names)]
        step = {"op": "melt", "index": ["g"], "columns": names}
        contract = load_contract({"name": "x", "fields": fields, "pipeline": [step]})
        count = 20_000
        column = pa.nulls(count, pa.int64())
        table = pa.table({"g": pa.nulls(count, pa.string()), **dict.fromkeys(names, column)})
        with pytest.raises(Invalid, match="4000000 rows"):
            run(bind_pipeline(contract, STEPS), table, StepContext())

    def test_null_and_the_text_null_are_two_columns(self) -> None:
        step = {"op": "pivot", "columns": "g", "column": "n", "agg": "count"}
        contract = load_contract({"name": "x", "fields": self.FIELDS, "views": {"wide": [step]}})
        table = pa.table({"g": ["null", None, "NaN", None], "n": pa.array([1, 2, 3, None], pa.int64())})
        made = run(bind_view(contract, "wide", STEPS), table, StepContext())
        assert made.table.to_pylist() == [{"NaN": 1, "null": 1, "(null)": 1}]
