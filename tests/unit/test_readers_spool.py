"""The spool and the cutting into chunks: memory stays bounded, disk is counted, everything is given back."""

import errno
import io
import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from gristmill.core.errors import Invalid, TooLarge, Unavailable
from gristmill.datasets.contract_parser import parse_contract
from gristmill.jobs.submit import NewChunk
from gristmill.records.ingest.chunking import Batch, read_batches
from gristmill.records.payload import decode, encode
from gristmill.records.readers.context import ReadContext
from gristmill.records.readers.ndjson import read_ndjson
from gristmill.records.spool import MEMORY_BYTES, BodySpool, Spool, SpooledChunks, SpoolFile
from gristmill.records.validation.rows import Problems, RecordValidator

MIB = 1024 * 1024
CONTRACT = parse_contract(
    {
        "name": "c",
        "fields": [
            {"name": "n", "type": "integer", "required": True},
            {"name": "t", "type": "text", "max_length": 1_048_576},
            *({"name": f"t{n}", "type": "text", "max_length": 1_048_576} for n in range(9)),
        ],
    }
)


def batches(file: Any, max_bytes: int = 8 * MIB, max_records: int = 20_000) -> Iterator[Batch]:
    source = ReadContext(file, RecordValidator(CONTRACT), Problems())
    return read_batches(read_ndjson, source, max_bytes, max_records)


class Endless(io.RawIOBase):
    """A body of many lines that is nowhere as a whole; a block that is read has whole lines."""

    def __init__(self, lines: int, line: bytes) -> None:
        self.left, self.line = lines, line

    def seek(self, offset: int, whence: int = 0) -> int:
        return 0

    def read(self, size: int = -1) -> bytes:
        # The start is looked at for a byte order mark before the body is read.
        if size <= 4:
            return self.line[:size]
        count = min(self.left, max(1, size // len(self.line)))
        self.left -= count
        return self.line * count


class TestChunks:
    def test_records_keep_their_order_and_count_across_chunks(self) -> None:
        body = "\n".join(json.dumps({"n": n, "t": "x" * (n % 100)}) for n in range(5000)).encode()
        for max_bytes, max_records in ((8 * MIB, 700), (20_000, 20_000), (1024, 3)):
            found = list(batches(io.BytesIO(body), max_bytes, max_records))
            assert [n for batch in found for n in batch.table.column("n").to_pylist()] == list(range(5000))
            starts = [batch.first_record for batch in found]
            assert starts == [batch.table.column("n")[0].as_py() for batch in found]
            assert all(batch.table.num_rows <= max_records for batch in found)
            assert all(batch.table.nbytes <= max_bytes for batch in found)

    def test_a_record_too_large_for_a_payload_is_named(self) -> None:
        big = {"n": 1} | {f"t{n}": "x" * MIB for n in range(9)}
        body = json.dumps({"n": 0}) + "\n" + json.dumps(big)
        with pytest.raises(Invalid) as caught:
            list(batches(io.BytesIO(body.encode())))
        assert (caught.value.violations[0].code, caught.value.violations[0].record) == ("record_too_large", 1)

    @pytest.mark.promise(7)
    def test_memory_does_not_grow_with_the_body(self) -> None:
        peaks = []
        for lines in (2_000, 20_000):
            line = json.dumps({"n": 1, "t": "x" * 2000}).encode() + b"\n"
            tracemalloc.start()
            total = sum(batch.table.num_rows for batch in batches(Endless(lines, line)))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert total == lines
        assert peaks[1] < peaks[0] + 4 * MIB

    @pytest.mark.promise(7)
    def test_memory_does_not_grow_with_the_errors(self) -> None:
        tracemalloc.start()
        with pytest.raises(Invalid) as caught:
            list(batches(Endless(20_000, b'{"n":"wrong"}\n')))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert caught.value.total == 20_000
        assert peak < 4 * MIB


class TestSpool:
    def test_small_content_stays_in_memory_and_large_goes_to_disk(self) -> None:
        spool = Spool("", 10 * MIB)
        file = SpoolFile(spool)
        file.write(b"x" * MEMORY_BYTES)
        assert (file.on_disk, spool.used) == (False, 0)
        file.write(b"y")
        assert (file.on_disk, spool.used) == (True, MEMORY_BYTES + 1)
        file.file.seek(0)
        assert file.file.read() == b"x" * MEMORY_BYTES + b"y"
        file.close()
        file.close()
        assert spool.used == 0

    def test_a_full_spool_is_unavailable_and_nothing_leaks(self) -> None:
        spool = Spool("", 3 * MIB)
        first, second = SpoolFile(spool), SpoolFile(spool)
        first.write(b"x" * 2 * MIB)
        with pytest.raises(Unavailable, match="spool is full"):
            second.write(b"x" * 2 * MIB)
        second.close()
        assert spool.used == 2 * MIB
        first.close()
        assert spool.used == 0

    def test_a_full_disk_is_unavailable_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Full(io.BytesIO):
            def write(self, data: Any) -> int:
                raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("tempfile.TemporaryFile", lambda **options: Full())
        spool = Spool("", 10 * MIB)
        file = SpoolFile(spool)
        with pytest.raises(Unavailable, match="disk"):
            file.write(b"x" * 2 * MIB)
        file.close()
        assert spool.used == 0

    def test_a_folder_that_is_not_there_is_unavailable(self) -> None:
        file = SpoolFile(Spool("/nowhere/at/all", 10 * MIB))
        with pytest.raises(Unavailable, match="No such file"):
            file.write(b"x" * 2 * MIB)


class TestBody:
    def test_the_hash_covers_identity_and_content_however_it_arrives(self) -> None:
        def hash_of(identity: bytes, *blocks: bytes) -> str:
            body = BodySpool(Spool("", MIB), MIB, identity)
            for block in blocks:
                body.write(block)
            return body.body_hash

        assert hash_of(b"POST /a", b"xy", b"z") == hash_of(b"POST /a", b"xyz")
        assert len({hash_of(b"POST /a", b"xyz"), hash_of(b"POST /b", b"xyz"), hash_of(b"POST /a", b"xy")}) == 3

    def test_the_limit_is_checked_while_the_body_arrives(self) -> None:
        body = BodySpool(Spool("", MIB), 10, b"")
        body.write(b"x" * 10)
        with pytest.raises(TooLarge):
            body.write(b"x")


class TestSpooledChunks:
    @pytest.mark.parametrize("size", [10, 50_000])
    def test_payloads_come_back_in_order_and_can_be_read_twice(self, size: int) -> None:
        spool = Spool("", 100 * MIB)
        chunks = SpooledChunks(spool)
        payloads = [bytes([n]) * size for n in range(50)]
        for n, payload in enumerate(payloads):
            chunks.add(NewChunk(n * 10, 10, payload))
        for _ in range(2):
            assert [(chunk.first_record, chunk.records, chunk.payload) for chunk in chunks] == [
                (n * 10, 10, payload) for n, payload in enumerate(payloads)
            ]
        assert (len(chunks), chunks.records) == (50, 500)
        chunks.close()
        assert (len(chunks), spool.used) == (0, 0)

    def test_a_batch_survives_the_way_through_the_spool(self) -> None:
        (batch,) = batches(io.BytesIO(b'{"n":1,"t":"\xc3\xa4"}\n'))
        chunks = SpooledChunks(Spool("", MIB))
        chunks.add(NewChunk(batch.first_record, 1, encode(batch.table)))
        (chunk,) = chunks
        assert decode(chunk.payload or b"").equals(batch.table)
