"""Members that are no fields are judged by the column as by the row, and take no more memory than fields do."""

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.columnar import MIB, WAYS, as_parquet, as_stream, both, peak, refusal
from tests.support.unknown import COLLECT, IGNORE, read

from gristmill.core.errors import GristmillError, Invalid
from gristmill.datasets.contract import Contract
from gristmill.records.readers.arrow import read_arrow
from gristmill.records.readers.context import Reader
from gristmill.records.readers.csv import read_csv
from gristmill.records.readers.limits import parquet_pages
from gristmill.records.readers.parquet import read_parquet

names = st.sampled_from(["n", "t", "colour", "a/b", "", "é", "_id"])
CONTRACTS = pytest.mark.parametrize("contract", [COLLECT, IGNORE], ids=["collect", "ignore"])


class TestColumnsAndRows:
    @CONTRACTS
    @pytest.mark.parametrize("partial", [False, True])
    @given(data=st.data())
    def test_cells_are_judged_by_the_column_as_by_the_row(
        self, data: st.DataObject, contract: Contract, partial: bool
    ) -> None:
        header = data.draw(st.lists(names, unique=True, min_size=1)) + data.draw(st.sampled_from([[], ["_extra"]]))
        cell = st.none() | st.text('a1"\n,é', max_size=3) | st.sampled_from(['{"é":1}', "{}", "5", "null", "\0"])
        rows = data.draw(st.lists(st.lists(cell, min_size=len(header), max_size=len(header)), min_size=1, max_size=6))
        quoted = [["" if one is None else '"' + one.replace('"', '""') + '"' for one in row] for row in rows]
        body = "\n".join(",".join(row) for row in [header, *quoted]).encode()
        found = []
        for by_row in (False, True):
            with pytest.MonkeyPatch.context() as patch:
                if by_row:
                    patch.setattr("gristmill.records.readers.csv_blocks._parse", lambda *_: None)
                try:
                    found.append(read(read_csv, body, contract, partial=partial))
                except GristmillError as error:
                    found.append(str(error))  # type: ignore[arg-type]
        assert found[0] == found[1]

    @CONTRACTS
    @given(body=st.binary(max_size=40) | st.text('",\n\r a1é\0', max_size=30).map(str.encode))
    def test_any_bytes_are_read_by_the_block_as_by_the_row(self, body: bytes, contract: Contract) -> None:
        found = []
        for by_row in (False, True):
            with pytest.MonkeyPatch.context() as patch:
                if by_row:
                    patch.setattr("gristmill.records.readers.csv_blocks._parse", lambda *_: None)
                try:
                    found.append(read(read_csv, b"t,b\n" + body, contract))
                except GristmillError as error:
                    found.append(error.violations)  # type: ignore[attr-defined]
        assert found[0] == found[1]

    @CONTRACTS
    @pytest.mark.parametrize("partial", [False, True])
    @given(data=st.data())
    def test_arrow_columns_are_judged_by_the_column_as_by_the_row(
        self, data: st.DataObject, contract: Contract, partial: bool
    ) -> None:
        count = data.draw(st.integers(1, 5))
        kinds = [
            (st.integers(-5, 5), pa.int32()),
            (st.floats(), pa.float64()),
            (st.text(max_size=3), pa.string()),
            (st.text(max_size=3), pa.large_string()),
            (st.integers(-(2**62), 2**62), pa.timestamp("ns")),
            (st.lists(st.floats(), max_size=2), pa.list_(pa.float64())),
            (
                st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), max_size=2),
                pa.map_(pa.string(), pa.int8()),
            ),
            (st.fixed_dictionaries({"x": st.text(max_size=2)}), pa.struct({"x": pa.string()})),
        ]
        columns: dict[str, Any] = {"n": pa.array(range(count))}
        for name in data.draw(st.lists(st.sampled_from(["colour", "a/b", "", "a.b"]), unique=True)):
            value, kind = data.draw(st.sampled_from(kinds))
            columns[name] = pa.array(data.draw(st.lists(st.none() | value, min_size=count, max_size=count)), kind)
        if data.draw(st.booleans()):
            texts = st.none() | st.sampled_from(['{"colour":1,"k":[1]}', "{}", "null", "5", "{", '{"k":"\\u0000"}'])
            columns["_extra"] = pa.array(data.draw(st.lists(texts, min_size=count, max_size=count)), pa.string())
        body = as_stream(pa.table(columns), rows=2)
        ways = [read(read_arrow, body, contract, precise, partial) for precise in (False, True)]
        assert repr(ways[0]) == repr(ways[1])
        assert read(read_parquet, as_parquet(pa.table(columns)), contract, False, partial)[0] == ways[0][0]


class TestBounds:
    @pytest.mark.promise(7)
    def test_long_names_are_written_out_piece_by_piece(self) -> None:
        """A record of 64 bytes stands for one of 32 kB, as each name stands in it again."""
        names = [f"{number:03}{'x' * 990}" for number in range(32)]
        row = ",".join("1" for _ in names)
        csv = "\n".join([",".join(["n", *names]), *(f"{n},{row}" for n in range(9000))]).encode()
        assert peak(read_csv, csv, COLLECT, most=200) < 90 * MIB
        table = pa.table({"n": range(9000), **{name: [1] * 9000 for name in names}})
        for reader, body in ((read_arrow, as_stream(table)), (read_parquet, as_parquet(table))):
            assert peak(reader, body, COLLECT, most=200) < 90 * MIB

    @pytest.mark.promise(7)
    def test_lists_of_many_columns_count_as_one_record(self) -> None:
        """Few bytes stand for long JSON: the name of a struct's member stands in each item."""
        kind = pa.list_(pa.struct({"y" * 1000: pa.int8()}))
        columns = {f"c{number}": pa.array([[{"y" * 1000: 1}] * 3000], kind) for number in range(10)}
        table = pa.table({"n": [1], **columns})
        for reader, body in ((read_arrow, as_stream(table)), (read_parquet, as_parquet(table))):
            with pytest.raises(Invalid) as error:
                read(reader, body, COLLECT)
            assert [one.code for one in error.value.violations] == ["record_too_large"]
            assert len(read(reader, body, IGNORE)[0]) == 1

    def test_the_checks_of_pages_know_unknown_columns(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(parquet_pages, "MAX_OPEN_BYTES", 4 * MIB)
        table = pa.table({"n": np.zeros(MIB, np.int64), "other": np.zeros(MIB, np.int64)})
        one_page: dict[str, Any] = {"use_dictionary": False, "data_page_size": 64 * MIB}
        body = as_parquet(table, **one_page, write_batch_size=MIB, max_rows_per_page=MIB)
        assert refusal(read_parquet, body, COLLECT).violations[0].code == "pages_too_large"

    def test_columns_that_are_passed_over_are_not_unpacked(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Their pages may be larger than what is read of a file at one time."""
        monkeypatch.setattr(parquet_pages, "MAX_OPEN_BYTES", 6 * MIB)
        table = pa.table({"other": np.zeros(MIB, np.int64), "n": pa.array([1] * MIB, pa.int8())})
        one_page: dict[str, Any] = {"use_dictionary": False, "data_page_size": 64 * MIB}
        body = as_parquet(table, **one_page, write_batch_size=MIB, max_rows_per_page=MIB)
        assert peak(read_parquet, body, IGNORE, most=20_000) < 12 * MIB
        stream = as_stream(pa.table({"other": ["x" * MIB], "n": [1]}), compression="zstd")
        before = pa.total_allocated_bytes()
        assert len(read(read_arrow, stream, IGNORE)[0]) == 1
        assert pa.total_allocated_bytes() - before < MIB

    @pytest.mark.parametrize("contract", [COLLECT, IGNORE], ids=["collect", "ignore"])
    def test_a_row_group_with_other_columns_than_the_schema_stays_refused(self, contract: Contract) -> None:
        body = as_parquet(pa.table({"n": [1], "t": ["a"], "x": ["b"]}), write_statistics=False, store_schema=False)
        changed = body.replace(b"\x19\x18\x01x", b"\x19\x18\x01y")
        assert changed != body
        with pytest.raises(Invalid, match="these are not the ones of the schema"):
            read(read_parquet, changed, contract)

    def test_a_flat_name_with_a_dot_is_read_as_pyarrow_reads_it(self) -> None:
        """pyarrow takes "n.x" for a part of n: it is measured with it, and passed over afterwards."""
        table = pa.table({"n": [1, 2], "n.x": [1.5, 2.5], "x.n": [1, 2]})
        rows, _ = read(read_parquet, as_parquet(table), IGNORE)
        assert [row for _, row in rows] == [{"n": 1, "t": None}, {"n": 2, "t": None}]
        rows, _ = read(read_parquet, as_parquet(table), COLLECT)
        assert rows[0][1]["_extra"] == '{"n.x":1.5,"x.n":1}'

    def test_columns_between_fields_may_be_anything(self) -> None:
        words = pa.array(["a", "b"]).dictionary_encode()
        table = pa.table(
            {"x": words, "n": [1, 2], "y": [[b"z"], None], "t": words, "z": pa.array([1, 2], pa.duration("s"))}
        )
        expected = [{"n": 1, "t": "a"}, {"n": 2, "t": "b"}]
        for compression in (None, "zstd"):
            rows, _ = read(read_arrow, as_stream(table, rows=1, compression=compression), IGNORE)
            assert [row for _, row in rows] == expected
        rows, _ = read(read_parquet, as_parquet(table), IGNORE)
        assert [row for _, row in rows] == expected

    @pytest.mark.parametrize("contract", [COLLECT, IGNORE], ids=["collect", "ignore"])
    def test_int96_moments_are_known_by_their_whole_names(self, contract: Contract) -> None:
        at = pa.array([0, None], pa.timestamp("ns"))
        table = pa.table({"n": [1, 2], "at": at, "at.x": [1.5, 2.5]})
        rows, rejects = read(read_parquet, as_parquet(table, use_deprecated_int96_timestamps=True), contract)
        assert not rejects
        if contract is COLLECT:
            assert rows[0][1]["_extra"] == '{"at":"1970-01-01T00:00:00","at.x":1.5}'
            assert rows[1][1]["_extra"] == '{"at.x":2.5}'


class TestDamage:
    @pytest.mark.parametrize("contract", [COLLECT, IGNORE], ids=["collect", "ignore"])
    @both
    def test_any_damaged_byte_gives_an_answer_and_never_another_error(self, reader: Reader, contract: Contract) -> None:
        table = pa.table(
            {
                "n": range(100),
                "word": pa.array([f"w{n % 3}" for n in range(100)]).dictionary_encode(),
                "list": [[n, None] for n in range(100)],
                "struct": [{"a": "é", "b": n / 3} for n in range(100)],
                "at": pa.array(range(100), pa.timestamp("us", "UTC")),
                "_extra": ['{"q":1}'] * 100,
            }
        )
        whole, dice, refused = WAYS[reader](table), random.Random(7), 0
        for _ in range(200):
            body = bytearray(whole)
            for _ in range(dice.choice([1, 1, 4])):
                body[dice.randrange(len(body))] = dice.choice([0, 1, 0x7F, 0x80, 0xFF, dice.randrange(256)])
            try:
                read(reader, bytes(body), contract)
            except Invalid:
                refused += 1
        assert refused > 20
