"""Payloads: what goes in comes out equal, and what does not compress is left alone."""

import os

import pyarrow as pa

from gristmill.records.payload import decode, encode


class TestPayload:
    def test_a_table_comes_back_equal_in_its_column_order(self) -> None:
        table = pa.table(
            {
                "v": pa.array([[1.0, 2.0], None], pa.list_(pa.float32(), 2)),
                "text": pa.array(["a", None]),
                "image": pa.array([b"\x89PNG", None]),
                "n": pa.array([2**63 - 1, None], pa.int64()),
            }
        )
        assert decode(encode(table)).equals(table)

    def test_text_shrinks_and_images_stay_as_they_are(self) -> None:
        noise = os.urandom(100_000)
        table = pa.table(
            {"text": pa.array(["the same words again and again"] * 10_000), "image": pa.array([noise] + [None] * 9_999)}
        )
        payload = bytes(encode(table))
        assert noise in payload
        assert len(payload) < len(noise) + 80_000
        assert decode(payload).equals(table)

    def test_an_empty_table_keeps_its_schema(self) -> None:
        table = pa.table({"a": pa.array([], pa.string())})
        assert decode(encode(table)).equals(table)
