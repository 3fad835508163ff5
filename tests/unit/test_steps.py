"""What every step has to pass: a plain reading of each record, every type and null, an empty frame, every cut."""

import itertools
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.batch_cases import BATCH_CASES
from tests.support.image_cases import CASES as IMAGE_CASES
from tests.support.step_cases import CASES as RECORD_CASES
from tests.support.step_cases import COLUMNS, Case, Row, alike, canonical, rows_of
from tests.support.steps import STEPS

from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.datasets.step_types import bound_types
from gristmill.datasets.types import TYPES
from gristmill.records.columns import to_table
from gristmill.transforms.run import run
from gristmill.transforms.spec import Column, Example, Step, StepContext

KINDS = [kind for name in STEPS.names() if (kind := STEPS.get(name)) is not None and name not in ("double", "pair")]
EXAMPLES = [(kind.op, example) for kind in KINDS for example in kind.examples]
CASES: list[Any] = [*RECORD_CASES, *BATCH_CASES, *IMAGE_CASES]
by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def contract_of(step: Any, fields: Any = tuple(COLUMNS.values())) -> Contract:
    """A contract that is not checked as a whole: what steps leave need not be the fields."""
    return load_contract({"name": "x", "fields": list(fields), "pipeline": [dict(step)]})


def table_of(contract: Contract, rows: list[Row]) -> pa.Table:
    columns = contract.input_columns
    parsed = [
        {one.name: None if row[one.name] is None else TYPES[one.type].parse(one, row[one.name]) for one in columns}
        for row in rows
    ]
    return to_table(columns, parsed)


def shown(contract: Contract, table: pa.Table, columns: dict[str, Column]) -> list[Row]:
    types = bound_types(contract)
    values = {}
    for name, column in columns.items():
        array = table.column(name)
        # Vectors have no name of a type that stands alone.
        values[name] = array.to_pylist() if column.type == "vector" else types.shown(column, array)
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


def transformed(
    contract: Contract, rows: list[Row], steps: Sequence[Step] | None = None
) -> tuple[list[tuple[int, Row]], list[int]]:
    """The rows, each with its record, and the records that do not fit. steps: of the contract, bound already."""
    steps = steps or bind_pipeline(contract, STEPS)
    made = run(steps, table_of(contract, rows), StepContext())
    found = shown(contract, made.table, dict(steps[-1].columns))
    assert made.table.column_names == list(steps[-1].columns)
    return list(zip(made.origins.tolist(), found, strict=True)), [one.record for one in made.failed]


@by_case
@settings(max_examples=15)
@given(data=st.data())
def test_it_does_what_a_plain_reading_of_each_record_does_however_it_is_cut(case: Case, data: st.DataObject) -> None:
    rows = data.draw(rows_of(case))
    expected, unfit = case.expected(rows)
    contract = contract_of(case.step)
    steps = bind_pipeline(contract, STEPS)
    cuts = data.draw(st.sets(st.integers(0, len(rows)), max_size=3))
    ways = ([0, len(rows)], sorted({0, len(rows), *cuts}), range(len(rows) + 1))
    for edges in ways if case.may_be_cut else ways[:1]:
        made: list[tuple[int, Row]] = []
        failed: list[int] = []
        for start, end in itertools.pairwise(edges):
            good, bad = transformed(contract, rows[start:end], steps)
            made += [(start + record, row) for record, row in good]
            failed += [start + record for record in bad]
        assert [record for record, _ in made] == [record for record, _ in expected]
        assert failed == unfit
        if case.may_be_cut:
            assert [canonical(row) for _, row in made] == [canonical(row) for _, row in expected]
        else:
            assert alike([row for _, row in made], [row for _, row in expected], rows, case.step), (made, expected)


@by_case
def test_without_records_its_columns_are_the_same(case: Case) -> None:
    assert transformed(contract_of(case.step), []) == ([], [])


@by_case
def test_columns_in_several_pieces_are_one_column(case: Case) -> None:
    contract = contract_of(case.step)
    rows = [dict.fromkeys(COLUMNS), {**dict.fromkeys(COLUMNS), "n": 1}]
    pieces = [table_of(contract, [row]) for row in rows]
    steps = bind_pipeline(contract, STEPS)
    one, many = (
        run(steps, table, StepContext())
        for table in (table_of(contract, rows), pa.concat_tables([*pieces, pieces[0][:0]]))
    )
    assert one.table.equals(many.table)
    assert one.origins.tolist() == many.origins.tolist()


def test_every_step_has_its_case() -> None:
    assert {case.step["op"] for case in CASES} == {kind.op for kind in KINDS}


@pytest.mark.parametrize(("op", "example"), EXAMPLES, ids=[op for op, _ in EXAMPLES])
def test_its_examples_are_true(op: str, example: Example) -> None:
    fields = [{"name": name, "type": type_} for name, type_ in example.types.items()]
    contract = contract_of(example.step, fields)
    found, failed = transformed(contract, [dict(row) for row in example.before])
    assert [row for _, row in found] == list(example.after)
    assert failed == []
    assert example.step["op"] == op
