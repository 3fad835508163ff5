"""The limit: the same rows by one raw binary COPY, made ready before, into a table that is like the dataset's."""

import io
import time
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.corpus import DIMENSIONS, vectors_of
from benchmarks.harness import Bench

_COLUMNS = ("id", "name", "summary", "section", "size", "_embedding", "_seq", "_ord")
_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)


def encode(table: pa.Table) -> bytes:
    """Return the rows in Postgres' binary COPY format; it takes as long as it takes, and is not measured."""
    vectors = vectors_of(table).astype(">f4")
    length = (4 + vectors.shape[1] * 4).to_bytes(4) + vectors.shape[1].to_bytes(2) + bytes(2)
    pieces = [_HEADER]
    for place, row in enumerate(table.drop_columns(["_embedding"]).to_pylist()):
        pieces.append(len(_COLUMNS).to_bytes(2))
        for value in row.values():
            data = value.to_bytes(8, signed=True) if isinstance(value, int) else value.encode()
            pieces += [len(data).to_bytes(4), data]
        pieces += [length, vectors[place].tobytes()]
        for number in (1, place):
            pieces += [(8).to_bytes(4), number.to_bytes(8)]
    pieces.append(np.int16(-1).astype(">i2").tobytes())
    return b"".join(pieces)


def copy(bench: Bench, dataset: str, data: bytes, rows: int, indexed: bool) -> float:
    """Return the rows per second of one COPY, commit included, into a new table like the dataset's.

    indexed: with its indexes (key and order of arrival); without, there is nothing but the table.
    """
    indexes = "INCLUDING INDEXES" if indexed else ""
    like = f"CREATE TABLE data.bench_raw (LIKE data.{dataset} INCLUDING IDENTITY INCLUDING STORAGE {indexes})"
    with bench.connect() as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS data.bench_raw")
        cursor.execute(like)
        # The dataset may have vector indexes by now, which no load of it ever feeds.
        cursor.execute(
            "SELECT format('DROP INDEX %s', indexrelid::regclass) FROM pg_index JOIN pg_class c ON c.oid = indexrelid"
            " JOIN pg_am a ON a.oid = c.relam WHERE indrelid = 'data.bench_raw'::regclass AND a.amname = 'hnsw'"
        )
        for (drop,) in cursor.fetchall():
            cursor.execute(drop)
        file = io.BytesIO(data)
        began = time.perf_counter()
        cursor.copy_expert(f"COPY data.bench_raw ({', '.join(_COLUMNS)}) FROM STDIN (FORMAT binary)", file, 1 << 18)
        seconds = time.perf_counter() - began
        _check(cursor, rows)
        cursor.execute("DROP TABLE data.bench_raw")
    return rows / seconds


def _check(cursor: Any, rows: int) -> None:
    cursor.execute("SELECT count(*), count(_embedding), min(vector_dims(_embedding)) FROM data.bench_raw")
    if (found := cursor.fetchone()) != (rows, rows, DIMENSIONS):
        raise RuntimeError(f"raw COPY wrote {found}, not {rows} rows")
