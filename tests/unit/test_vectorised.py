"""Whole columns are judged exactly as single records are: the same accepted, with equal values and equal mistakes."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.cells import CELLS
from tests.support.values import CASES

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import Contract, parse_contract
from gristmill.records.readers import columnar
from gristmill.records.readers.arrow import read_arrow
from gristmill.records.readers.context import ReadContext, Reader, RecordBlock
from gristmill.records.readers.csv import read_csv
from gristmill.records.reject import Reject
from gristmill.records.validation.columns import Mask, check_columns, check_schema
from gristmill.records.validation.rows import Problems, RecordValidator, validator_of

FIELDS = {kind: {"type": name, **limits} for name, case in CASES.items() for kind, limits in case.fields.items()}
COLUMNS = {kind: columns for case in CASES.values() for kind, columns in case.columns.items()}
GOOD = {kind: column for case in CASES.values() for kind, column in case.good.items()}


def contract_of(kind: str, required: bool = False) -> Contract:
    field = {"name": "x", "required": required, **FIELDS[kind]}
    return parse_contract({"name": "things", "fields": [{"name": "n", "type": "integer"}, field]})


def read(reader: Reader, body: bytes, contract: Contract, precise: bool) -> tuple[list[Any], list[Reject]]:
    """Return (index and payload row of every valid record, the rejects). precise: every record goes the precise way."""

    def mark_all(validator: RecordValidator, table: pa.Table, cells: bool = False) -> tuple[pa.Table, Mask]:
        return check_columns(validator, table, cells)[0], np.ones(table.num_rows, np.bool_)

    rejects: list[Reject] = []
    with pytest.MonkeyPatch.context() as patch:
        if precise:
            patch.setattr(columnar, "check_columns", mark_all)
        source = ReadContext(io.BytesIO(body), validator_of(contract), Problems(), rejects.append)
        steps: list[RecordBlock] = list(reader(source))
    rows = [pair for step in steps for pair in zip(step.ords.tolist(), step.table.to_pylist(), strict=True)]
    for step in steps:
        step.table.validate(full=True)
    return rows, rejects


def assert_same(reader: Reader, body: bytes, contract: Contract) -> list[Any]:
    fast, precise = (read(reader, body, contract, way) for way in (False, True))
    assert fast == precise
    return fast[0]


# Cells that stand near the limits of what some type takes.
NEAR = [*CELLS, *(cell for case in CASES.values() for cell in case.cells)]
cells = st.sampled_from(NEAR) | st.text(max_size=6) | st.from_regex(r"-?[0-9]{1,22}(\.[0-9]{0,5})?", fullmatch=True)


def quoted(cell: str | None) -> str:
    if cell is None:
        return ""
    return '"' + cell.replace('"', '""') + '"'


class TestCells:
    @pytest.mark.parametrize("kind", FIELDS)
    @pytest.mark.parametrize("required", [False, True])
    def test_every_cell_near_a_limit_is_judged_as_by_itself(self, kind: str, required: bool) -> None:
        contract = contract_of(kind, required)
        lines = [f"{n},{quoted(cell)}" for n, cell in enumerate([None, *NEAR])]
        body = "\n".join(["n,x", *lines]).encode()
        rows = assert_same(read_csv, body, contract)
        # The block as a whole holds a NUL and a lone carriage return, which single rows do not.
        alone = [pair[1]["x"] for line in lines for pair in assert_same(read_csv, f"n,x\n{line}\n".encode(), contract)]
        assert [row["x"] for _, row in rows] == alone
        assert rows, "no cell at all is valid"

    @given(data=st.data(), kind=st.sampled_from(sorted(FIELDS)))
    def test_columns_of_any_cells_are_judged_as_their_rows_are(self, data: st.DataObject, kind: str) -> None:
        texts = data.draw(st.lists(st.none() | cells, min_size=1, max_size=12))
        lines = [f"{n},{quoted(cell)}" for n, cell in enumerate(texts)]
        assert_same(read_csv, "\n".join(["n,x", *lines]).encode("utf-8", "replace"), contract_of(kind))

    @given(body=st.binary(max_size=60) | st.text('",\n\r a1é\0', max_size=40).map(str.encode))
    @example(b'1,"a"\n2,"a""b"\n3,""\n4,\n')
    @example(b'1,"a\nb"\r\n\r\n\n2,"\r\n"\r\n')
    @example(b'1,a"b\n2,"c\n')
    @example(b'1,""""\n2,"""a"""\n')
    @example(b'1,"a"b\n')
    @example(b'"",')
    @example(b'1,a\n"x",')
    @example(b"1,a\r\r\n2,b")
    @example(b"1,a\r2,b\n")
    def test_any_bytes_are_split_into_the_rows_that_the_reader_of_rows_sees(self, body: bytes) -> None:
        fields = [{"name": "a", "type": "text"}, {"name": "b", "type": "text"}]
        contract = parse_contract({"name": "two", "fields": fields})
        found = []
        for by_row in (False, True):
            with pytest.MonkeyPatch.context() as patch:
                if by_row:
                    patch.setattr("gristmill.records.readers.csv_blocks._parse", lambda *_: None)
                try:
                    found.append(read(read_csv, b"a,b\n" + body, contract, False))
                except Invalid as error:
                    found.append((type(error), error.violations))  # type: ignore[arg-type]
        assert found[0] == found[1]

    @given(rows=st.lists(st.text('ab",\n\r é', max_size=8), min_size=1, max_size=30), block=st.integers(1, 50))
    def test_blocks_are_cut_between_rows_whatever_their_size(self, rows: list[str], block: int) -> None:
        contract = parse_contract({"name": "one", "fields": [{"name": "a", "type": "text", "max_length": 6}]})
        body = "\n".join(["a", *(quoted(text) for text in rows)]).encode()
        whole = read(read_csv, body, contract, False)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("gristmill.records.readers.csv_blocks.BLOCK_BYTES", block)
            assert read(read_csv, body, contract, False) == whole
        assert len(whole[0]) + len(whole[1]) == len(rows)


def stream(column: pa.Array) -> bytes:
    table = pa.table({"n": pa.array(range(len(column))), "x": column})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


class TestColumns:
    @pytest.mark.parametrize("kind", sorted(FIELDS))
    @settings(max_examples=30)
    @given(data=st.data())
    def test_arrow_columns_are_judged_as_their_rows_are(self, kind: str, data: st.DataObject) -> None:
        column = data.draw(st.sampled_from(COLUMNS[kind]).flatmap(lambda strategy: strategy))
        start = data.draw(st.integers(0, 3))
        contract = contract_of(kind, data.draw(st.booleans()))
        if check_schema(validator_of(contract), pa.schema({"n": pa.int64(), "x": column.type})):
            raise AssertionError(f"{column.type} is not accepted for {kind}")
        assert_same(read_arrow, stream(column.slice(start)), contract)

    @pytest.mark.parametrize("metric", ["cosine", "l2"])
    @pytest.mark.parametrize("storage", ["vector", "halfvec"])
    @settings(max_examples=30)
    @given(column=st.sampled_from(COLUMNS["vector"]).flatmap(lambda strategy: strategy))
    def test_embeddings_are_judged_as_their_rows_are(self, metric: str, storage: str, column: pa.Array) -> None:
        contract = parse_contract(
            {
                "name": "e",
                "fields": [{"name": "n", "type": "integer"}],
                "embedding": {"dimensions": 2, "metric": metric, "storage": storage},
            }
        )
        body = stream(column)
        table = pa.ipc.open_stream(body).read_all().rename_columns(["n", "_embedding"])
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
        assert_same(read_arrow, sink.getvalue().to_pybytes(), contract)

    def test_plain_good_columns_never_take_the_slow_way(self) -> None:
        for kind, column in GOOD.items():
            columns, bad = check_columns(validator_of(contract_of(kind)), pa.table({"x": column}))
            assert (kind, bad.tolist()) == (kind, [False, False])
            assert columns.column("x").null_count == 1
