"""Content-Encoding: what is compressed comes out equal, in bounded steps; what is damaged is refused with the byte."""

import gzip
import io
import os
import zlib

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.errors import Malformed, TooLarge, UnsupportedMedia
from gristmill.records.content_encoding import STEP_BYTES, content_encoding, decompress
from gristmill.records.spool import MEMORY_BYTES, BodySpool, Spool

COMPRESS = {"gzip": gzip.compress, "zstd": lambda data: pa.Codec("zstd").compress(data, asbytes=True)}
ENCODINGS = pytest.mark.parametrize("encoding", COMPRESS)
NOISE = os.urandom(300_000)


def _inflated(data: bytes, encoding: str) -> bytes:
    return b"".join(decompress(io.BytesIO(data), encoding))


@ENCODINGS
class TestInflate:
    @given(parts=st.lists(st.binary(max_size=2000), min_size=1, max_size=4))
    def test_members_one_after_the_other_are_one_body(self, encoding: str, parts: list[bytes]) -> None:
        assert _inflated(b"".join(map(COMPRESS[encoding], parts)), encoding) == b"".join(parts)

    def test_large_bodies_come_in_steps(self, encoding: str) -> None:
        data = NOISE + bytes(20_000_000) + NOISE
        steps = list(decompress(io.BytesIO(COMPRESS[encoding](data)), encoding))
        assert max(map(len, steps)) <= STEP_BYTES
        assert b"".join(steps) == data

    @pytest.mark.parametrize("kept", [0, 1, 10, 100_000, 200_000, -8, -1])
    def test_a_body_that_ends_too_early_is_refused_with_its_last_byte(self, encoding: str, kept: int) -> None:
        data = COMPRESS[encoding](NOISE)[:kept]
        with pytest.raises(Malformed, match=f"ends at byte {len(data)}, before its {encoding} stream") as caught:
            _inflated(data, encoding)
        assert caught.value.extra["byte"] == len(data)
        assert caught.value.violations[0].code == "truncated"

    @pytest.mark.parametrize("data", [b'{"records": []}', b"\0" * 30, os.urandom(1000)])
    def test_what_is_not_compressed_at_all_is_refused(self, encoding: str, data: bytes) -> None:
        with pytest.raises(Malformed, match=f"no {encoding}"):
            _inflated(data, encoding)

    def test_junk_after_the_end_is_refused(self, encoding: str) -> None:
        with pytest.raises(Malformed, match=f"near byte .* it is no {encoding}"):
            _inflated(COMPRESS[encoding](b"abc") + b"junk that is no header", encoding)


class TestGzip:
    def test_damage_in_the_middle_is_refused_near_its_place(self) -> None:
        data = bytearray(gzip.compress(NOISE + b"text " * 100_000))
        data[-8] ^= 1
        with pytest.raises(Malformed, match="incorrect data check") as caught:
            _inflated(bytes(data), "gzip")
        assert len(data) - 70_000 < caught.value.extra["byte"] <= len(data)

    def test_zeros_at_the_end_are_padding(self) -> None:
        assert _inflated(gzip.compress(b"abc") + bytes(100_000), "gzip") == b"abc"

    def test_another_wrapper_is_no_gzip(self) -> None:
        with pytest.raises(Malformed, match="incorrect header check"):
            _inflated(zlib.compress(b"abc"), "gzip")


class TestHeader:
    @pytest.mark.parametrize(
        ("header", "meaning"),
        [("", None), ("identity", None), (" GZIP ", "gzip"), ("x-gzip", "gzip"), ("zstd", "zstd")],
    )
    def test_names_are_known_in_any_case(self, header: str, meaning: str | None) -> None:
        assert content_encoding(header) == meaning

    @pytest.mark.parametrize("header", ["br", "deflate", "gzip, zstd", "x" * 500])
    def test_others_are_refused_with_the_valid_ones(self, header: str) -> None:
        with pytest.raises(UnsupportedMedia, match="valid are: gzip, zstd, identity"):
            content_encoding(header)


@ENCODINGS
class TestBodySpool:
    def test_a_bomb_is_refused_before_it_has_unfolded(self, encoding: str) -> None:
        spool = Spool("", 10**9)
        bomb = COMPRESS[encoding](bytes(200_000_000))
        body = BodySpool(spool, 10_000_000, b"")
        body.write(bomb)
        with pytest.raises(TooLarge, match="larger than 10000000 bytes once it is inflated"):
            body.decompress(encoding)
        assert spool.used == 0, "what was inflated is gone"
        assert body.open().read() == bomb
        body.close()

    @pytest.mark.parametrize("size", [10, 3 * MEMORY_BYTES])
    def test_the_content_is_replaced_and_the_hash_is_not(self, encoding: str, size: int) -> None:
        spool = Spool("", 10**9)
        data = os.urandom(size)
        body = BodySpool(spool, 10_000_000, b"who")
        body.write(COMPRESS[encoding](data))
        before = body.body_hash
        body.decompress(encoding)
        assert (body.open().read(), body.size, body.body_hash) == (data, size, before)
        assert body.on_disk == (spool.used > 0) == (size > MEMORY_BYTES)
        body.close()
        assert spool.used == 0
