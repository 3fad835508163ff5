"""Parquet files whose footers and page headers say something else than what is there: refused, never a way around."""

import struct
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.columnar import MIB, as_parquet, peak, read, refusal
from tests.support.thrift import I32, I64, STRUCT, Struct, changed, chunk_of, get, group_of, put

from gristmill.core.errors import Invalid, Malformed
from gristmill.datasets.contract_parser import parse_contract
from gristmill.records.readers.parquet import read_parquet

CONTRACT = parse_contract(
    {"name": "d", "fields": [{"name": "meta", "type": "json"}, {"name": "v", "type": "vector", "dimensions": 8}]}
)
ROWS = 2048
PLAIN: dict[str, Any] = {"compression": "none", "write_statistics": False, "store_schema": False}
# One text of 64 KiB in each record, as an index into a dictionary: 128 MiB written out.
TEXTS = pa.StructArray.from_arrays(
    [pa.DictionaryArray.from_arrays(pa.array([0] * ROWS, pa.int32()), pa.array(["x" * 65536]))], ["t"]
)
BODY = as_parquet(pa.table({"meta": TEXTS}), **PLAIN)
SECOND = as_parquet(pa.table({"meta": TEXTS}), **PLAIN, data_page_version="2.0")
SMALL = as_parquet(pa.table({"meta": [{"t": ["a", None, "b"], "n": n} for n in range(100)]}), **PLAIN)
Pages = list[tuple[Struct, bytes]]
# What a header of version 1 says of all the values, as plain ones.
SAYS_PLAIN = [[1, I32, ROWS], [2, I32, 0], [3, I32, 3], [4, I32, 3]]


def short_dictionary(pages: Pages) -> None:
    put(pages[0][0], 2, 10)


def index_page(pages: Pages) -> None:
    pages.insert(0, ([[1, I32, 1], [2, I32, 0], [3, I32, 0], [5, STRUCT, SAYS_PLAIN]], b""))


def two_headers(pages: Pages) -> None:
    for header, _ in pages:
        if get(header, 1) == 3:
            header.insert(next(place for place, field in enumerate(header) if field[0] == 8), [5, STRUCT, SAYS_PLAIN])


def kind_twice(pages: Pages) -> None:
    pages[0][0].insert(1, [1, I64, 0])


def few_values(pages: Pages) -> None:
    put(get(pages[-1][0], 5), 1, 1)


def dictionary_twice(footer: Struct) -> None:
    chunk_of(footer).append([11, I32, 0])


def dictionary_of_32_bits(footer: Struct) -> None:
    chunk = chunk_of(footer)
    chunk[[field[0] for field in chunk].index(11)][1] = I32


def many_rows(footer: Struct) -> None:
    put(group_of(footer), 3, 10**9)


def negative_rows(footer: Struct) -> None:
    put(group_of(footer), 3, -1)


def another_path(footer: Struct) -> None:
    put(chunk_of(footer), 3, (8, [b"v"]))


def far_away(footer: Struct) -> None:
    put(chunk_of(footer), 9, 2**62)
    put(chunk_of(footer), 11, 2**62)


def too_long(footer: Struct) -> None:
    put(chunk_of(footer), 7, 2**40)


class TestRefused:
    @pytest.mark.promise(7)
    @pytest.mark.parametrize("lie", [short_dictionary, index_page, kind_twice, few_values])
    def test_pages(self, lie: Callable[[Pages], None]) -> None:
        assert isinstance(refusal(read_parquet, changed(BODY, pages=lie), CONTRACT), Malformed)

    @pytest.mark.promise(7)
    def test_a_page_with_two_headers(self) -> None:
        assert isinstance(refusal(read_parquet, changed(SECOND, pages=two_headers), CONTRACT), Malformed)

    @pytest.mark.promise(7)
    @pytest.mark.parametrize(
        "lie",
        [dictionary_twice, dictionary_of_32_bits, many_rows, negative_rows, another_path, far_away, too_long],
    )
    def test_the_footer(self, lie: Callable[[Struct], None]) -> None:
        assert isinstance(refusal(read_parquet, changed(BODY, footer=lie), CONTRACT), Malformed)

    def test_a_footer_of_lists_within_lists(self) -> None:
        footer = b"\x49" + b"\x19" * 3000
        body = b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"
        assert "too deep" in refusal(read_parquet, body, CONTRACT).detail

    def test_the_type_in_the_footer_is_not_asked(self) -> None:
        body = changed(BODY, footer=lambda footer: put(chunk_of(footer), 1, 1))
        try:
            assert peak(read_parquet, body, CONTRACT) < 48 * MIB
        except Malformed:
            return

    @pytest.mark.promise(7)
    def test_the_unchanged_file_is_read_piece_by_piece(self) -> None:
        for body in (changed(BODY), changed(SECOND)):
            assert peak(read_parquet, body, CONTRACT) < 48 * MIB

    @given(place=st.integers(0, len(SMALL) - 1), byte=st.integers(0, 255))
    def test_any_other_byte_gives_records_or_a_refusal(self, place: int, byte: int) -> None:
        body = bytearray(SMALL)
        body[place] = byte
        try:
            for _ in read(read_parquet, bytes(body), CONTRACT)[:1]:
                pass
        except (Invalid, Malformed):
            return

    def test_an_index_of_lists_that_nest_without_values(self) -> None:
        kind = pa.null()
        for _ in range(31):
            kind = pa.list_(kind)
        body = as_parquet(pa.table({"meta": pa.nulls(2_000_000, kind)}))
        assert len(body) < MIB
        assert refusal(read_parquet, body, CONTRACT).violations[0].code == "row_group_too_large"


def test_a_struct_of_many_members_is_read_in_small_batches() -> None:
    rows = 2000
    members = [pa.nulls(rows, pa.int64()) for _ in range(400)]
    body = as_parquet(pa.table({"meta": pa.StructArray.from_arrays(members, [f"m{n}" for n in range(400)])}))
    assert peak(read_parquet, body, CONTRACT, most=1) < 64 * MIB
    assert len(body) < 4 * MIB
