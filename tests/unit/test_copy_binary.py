"""The byte layout of binary COPY, against what the PostgreSQL manual prescribes."""

import struct

import pyarrow as pa
import pytest

from gristmill.datasets.contract import EmbeddingColumn, FieldSpec
from gristmill.records.apply.copy_binary import encode_copy

NUMBER = FieldSpec(name="a", type="integer")


class TestEncodeCopy:
    def test_header_rows_and_trailer_are_as_the_manual_says(self) -> None:
        table = pa.table({"a": pa.array([1, None], pa.int64()), "b": pa.array(["é", ""], pa.string())})
        expected = (
            b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
            + struct.pack("!hiqi", 2, 8, 1, 2) + "é".encode()
            + struct.pack("!hii", 2, -1, 0)
            + struct.pack("!h", -1)
        )  # fmt: skip
        assert (
            b"".join(bytes(block) for block in encode_copy(table, [NUMBER, FieldSpec(name="b", type="text")]))
            == expected
        )

    def test_a_vector_is_dimensions_then_big_endian_floats(self) -> None:
        table = pa.table({"v": pa.array([[1.0, -2.5], None], pa.list_(pa.float32(), 2))})
        field = FieldSpec(name="v", type="vector", dimensions=2)
        body = b"".join(bytes(block) for block in encode_copy(table, [field]))[19:-2]
        assert body == struct.pack("!hihhff", 1, 12, 2, 0, 1.0, -2.5) + struct.pack("!hi", 1, -1)

    def test_a_half_vector_is_the_same_with_half_floats(self) -> None:
        numbers = pa.array([1.0, -2.5, 7.0, 65504.0], pa.float16())
        table = pa.table({"v": pa.FixedSizeListArray.from_arrays(numbers, 2)}).slice(1)
        column = EmbeddingColumn(name="v", type="vector", dimensions=2, metric="l2", storage="halfvec")
        body = b"".join(bytes(block) for block in encode_copy(table, [column]))[19:-2]
        assert body == struct.pack("!hihhee", 1, 8, 2, 0, 7.0, 65504.0)

    def test_another_arrow_type_is_refused_by_name(self) -> None:
        table = pa.table({"x": pa.array([1], pa.int8())})
        with pytest.raises(TypeError, match="int8"):
            list(encode_copy(table, [NUMBER]))
