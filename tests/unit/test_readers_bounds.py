"""Memory that Parquet and Arrow bodies take: bounded, whatever they claim and however much they stand for."""

import io
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.support.columnar import MIB, SMALL, as_parquet, as_stream, both, peak, read, refusal

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import parse_contract
from gristmill.records.readers.arrow import read_arrow
from gristmill.records.readers.context import Reader
from gristmill.records.readers.limits import arrow_frames, parquet_pages
from gristmill.records.readers.parquet import read_parquet


class TestBounds:
    """A body may be small and what it stands for large."""

    @pytest.mark.promise(7)
    @pytest.mark.parametrize("kind", [pa.dictionary(pa.int32(), pa.string()), pa.string_view()])
    def test_one_long_text_in_every_row_is_written_out_piece_by_piece(self, kind: pa.DataType) -> None:
        contract = parse_contract({"name": "t", "fields": [{"name": "t", "type": "text", "max_length": MIB}]})
        if pa.types.is_dictionary(kind):
            column = pa.DictionaryArray.from_arrays(pa.array([0] * 2000, pa.int32()), pa.array(["x" * MIB]))
        else:
            one = pa.array(["x" * MIB], pa.string_view())
            views = one.buffers()[1].to_pybytes()[:16] * 2000
            column = pa.Array.from_buffers(kind, 2000, [None, pa.py_buffer(views), *one.buffers()[2:]])
        body = as_stream(pa.table({"t": column}))
        assert len(body) < 2 * MIB
        assert peak(read_arrow, body, contract, most=300) < 60 * MIB

    @pytest.mark.promise(7)
    @pytest.mark.parametrize("nulls", [0, 100])
    def test_a_long_text_in_a_dictionary_page_is_written_out_piece_by_piece(self, nulls: int) -> None:
        """Also where the record that the dictionary is looked up with has no text."""
        contract = parse_contract({"name": "t", "fields": [{"name": "t", "type": "text", "max_length": MIB}]})
        places = pa.array([None] * nulls + [0] * 20_000, pa.int32())
        column = pa.DictionaryArray.from_arrays(places, pa.array(["x" * (MIB // 2)]))
        body = as_parquet(pa.table({"t": column}))
        assert len(body) < 2 * MIB
        assert peak(read_parquet, body, contract, most=300) < 60 * MIB

    @pytest.mark.promise(7)
    @pytest.mark.parametrize("dictionary", [True, False])
    def test_a_row_group_of_any_size_takes_no_more_than_a_small_one(self, dictionary: bool) -> None:
        """Texts that are all different: a dictionary of them would grow with the row group."""
        contract = parse_contract({"name": "t", "fields": [{"name": "t", "type": "text"}]})
        column = pa.array([f"{n:06} {'x' * 400}" for n in range(150_000)])
        body = as_parquet(pa.table({"t": column}), row_group_size=150_000, use_dictionary=dictionary)
        assert column.nbytes > 55 * MIB
        assert peak(read_parquet, body, contract) < 35 * MIB

    @pytest.mark.promise(7)
    def test_texts_that_begin_as_the_one_before_are_written_out_piece_by_piece(self) -> None:
        """A page of them is small whatever their beginning is: here 3,000 texts of 100 kB."""
        contract = parse_contract({"name": "t", "fields": [{"name": "t", "type": "text", "max_length": MIB}]})
        sink = io.BytesIO()
        schema = pa.schema([("t", pa.string())])
        with pq.ParquetWriter(
            sink, schema, use_dictionary=False, column_encoding={"t": "DELTA_BYTE_ARRAY"}, data_page_size=64 * MIB
        ) as writer:
            writer.write_table(pa.table({"t": [f"{'x' * 100_000}{n:05}" for n in range(3000)]}))
        assert len(sink.getvalue()) < MIB
        assert peak(read_parquet, sink.getvalue(), contract) < 60 * MIB

    def test_a_page_that_unpacks_to_too_much_is_refused_before_it_is_read(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(parquet_pages, "MAX_OPEN_BYTES", 4 * MIB)
        table = pa.table({"n": pa.array(np.zeros(MIB, np.int64))})
        one_page = {"use_dictionary": False, "compression": "zstd", "data_page_size": 64 * MIB}
        body = as_parquet(table, **one_page, write_batch_size=MIB, max_rows_per_page=MIB)
        assert len(body) < MIB
        before = pa.total_allocated_bytes()
        error = refusal(read_parquet, body, SMALL)
        assert (type(error), error.violations[0].code) == (Invalid, "pages_too_large")
        assert "Row group 0" in error.detail
        assert pa.total_allocated_bytes() < before + MIB
        assert read(read_parquet, as_parquet(table, use_dictionary=False, data_page_size=MIB), SMALL)

    def test_vectors_that_are_far_too_long_are_refused_before_they_are_read(self) -> None:
        numbers = pa.array(np.zeros(5 * MIB, np.float32))
        long = pa.ListArray.from_arrays(pa.array([0, 5 * MIB], pa.int32()), numbers)
        contract = parse_contract({"name": "v", "fields": [{"name": "v", "type": "vector", "dimensions": 8}]})
        error = refusal(read_parquet, as_parquet(pa.table({"v": long})), contract)
        assert (error.violations[0].code, error.violations[0].field) == ("wrong_length", "v")

    @pytest.mark.parametrize("compression", [None, "zstd", "lz4"])
    def test_a_record_batch_that_unpacks_to_too_much_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, compression: str | None
    ) -> None:
        monkeypatch.setattr(arrow_frames, "MAX_BATCH_BYTES", 4 * MIB)
        table = pa.table({"n": np.zeros(MIB, np.int64)})
        body = as_stream(table, rows=MIB, compression=compression)
        error = refusal(read_arrow, body, SMALL)
        assert (type(error), error.violations[0].code) == (Invalid, "batch_too_large")
        assert "max_chunksize" in error.detail
        assert read(read_arrow, as_stream(table, rows=100_000, compression=compression), SMALL)

    def test_dictionaries_count_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(arrow_frames, "MAX_BATCH_BYTES", 64 * 1024)
        names = [f"t{n}" for n in range(4)]
        texts = pa.array([f"{n:0100d}" for n in range(300)]).dictionary_encode()
        contract = parse_contract({"name": "d", "fields": [{"name": name, "type": "text"} for name in names]})
        assert read(read_arrow, as_stream(pa.table({"t0": texts})), contract)
        error = refusal(read_arrow, as_stream(pa.table(dict.fromkeys(names, texts))), contract)
        assert "dictionaries" in error.detail

    def test_a_declared_size_that_is_a_lie_is_no_reason_to_allocate(self) -> None:
        body = bytearray(as_stream(pa.table({"n": list(range(10_000))}), compression="zstd"))
        magic = body.index(b"\x28\xb5\x2f\xfd")
        body[magic - 8 : magic] = struct.pack("<q", 2**40)
        assert refusal(read_arrow, bytes(body), SMALL).violations[0].code == "batch_too_large"

    @pytest.mark.promise(7)
    @both
    def test_memory_does_not_grow_with_the_body(self, reader: Reader) -> None:
        contract = parse_contract(
            {"name": "e", "fields": [{"name": "n", "type": "integer"}], "embedding": {"dimensions": 64}}
        )
        peaks = []
        for rows in (120_000, 360_000):
            numbers = np.random.default_rng(1).normal(size=(rows, 64)).astype(np.float32)
            vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), 64)
            table = pa.table({"n": np.arange(rows), "_embedding": vectors})
            # One row group holds all, as writers do it.
            body = as_parquet(table, compression="none") if reader is read_parquet else as_stream(table)
            del numbers, vectors, table
            peaks.append(peak(reader, body, contract))
        assert peaks[1] < peaks[0] + 4 * MIB
        assert peaks[1] < 48 * MIB
