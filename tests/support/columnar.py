"""Bodies of Parquet and Arrow for tests of their readers, and the readers called as the API calls them."""

import io
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gristmill.core.errors import Invalid
from gristmill.datasets.contract_parser import Contract, parse_contract
from gristmill.records.ingest.chunking import Batch, read_batches
from gristmill.records.readers.arrow import read_arrow
from gristmill.records.readers.context import ReadContext, Reader
from gristmill.records.readers.parquet import read_parquet
from gristmill.records.reject import Reject
from gristmill.records.validation.rows import Problems, validator_of

MIB = 1024 * 1024
SMALL = parse_contract({"name": "small", "fields": [{"name": "n", "type": "integer"}, {"name": "t", "type": "text"}]})


def as_parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def as_stream(table: pa.Table, rows: int = 10_000, compression: str | None = None) -> bytes:
    sink = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    with pa.ipc.new_stream(sink, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=rows)
    return sink.getvalue()


WAYS: dict[Reader, Callable[[pa.Table], bytes]] = {read_parquet: as_parquet, read_arrow: as_stream}
both = pytest.mark.parametrize("reader", WAYS)


def read(reader: Reader, body: bytes, contract: Contract, rejects: list[Reject] | None = None) -> list[Batch]:
    sink = None if rejects is None else rejects.append
    source = ReadContext(io.BytesIO(body), validator_of(contract), Problems(), sink)
    return list(read_batches(reader, source, 8 * MIB, 20_000))


def refusal(reader: Reader, body: bytes, contract: Contract) -> Invalid:
    with pytest.raises(Invalid) as caught:
        read(reader, body, contract)
    return caught.value


def peak(reader: Reader, body: bytes, contract: Contract, most: int | None = None) -> int:
    """Return how many bytes Arrow held at most above what it held before, while ``most`` batches were read."""
    pool = pa.default_memory_pool()
    pool.release_unused()
    before, peak = pool.bytes_allocated(), 0
    source = ReadContext(io.BytesIO(body), validator_of(contract), Problems())
    for number, batch in enumerate(read_batches(reader, source, 8 * MIB, 20_000)):
        peak = max(peak, pool.bytes_allocated() - before)
        if most is not None and number >= most:
            break
        del batch
    return peak
