"""A frame of pandas submitted beside the same rows as an Arrow file, in turns; and records fetched as a frame.

Both ways end when the job has succeeded. The frame is as people have it: texts and times of pandas' own types, and
integers of numpy. It is the shipped client that sends both.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from benchmarks.figures import Row, show
from benchmarks.harness import Bench

NAME = "bench_frames"
CONTRACT: dict[str, Any] = {
    "name": NAME,
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "sensor", "type": "text", "required": True, "max_length": 16},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "value", "type": "float"},
        {"name": "note", "type": "text"},
    ],
}
ROUNDS = 5
TARGET = 0.9


def run(bench: Bench) -> Iterator[Row]:
    """Yield the rate of frames and its ratio to that of files, and how long records take to be a frame."""
    rows = bench.size(1_000_000, 20_000, brief=200_000)
    frame, path = _frame(rows), bench.folder / "rows.arrows"
    _write(frame, path)
    ways: dict[str, Callable[[], Any]] = {"a frame of pandas": lambda: frame, "an Arrow file": lambda: path}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(bench.size(ROUNDS, 1, brief=2) + 1):
        for way, records in ways.items():
            rate = _once(bench, records(), rows)
            if turn:
                # In the first one every process goes this way for the first time.
                rates[way].append(rate)
    found = {way: statistics.median(each) for way, each in rates.items()}
    ratio = found["a frame of pandas"] / found["an Arrow file"]
    for way, rate in found.items():
        first = way == "a frame of pandas"
        yield Row(
            f"submit of {way}, {rows:,} rows of 5 columns, to succeeded",
            f"{rate:,.0f} rows/s, median of {len(rates[way])}" + (f"; {show(ratio)} × the file" if first else ""),
            f"≥ {TARGET} × the file" if first else "",
            ratio >= TARGET if first else None,
            {"rows": rows, "rows_per_second": round(rate, 1), "rounds": rates[way], "ratio": round(ratio, 3)},
            figure=rate,
        )
    _load(bench, path, rows)
    yield from _read(bench, rows)
    bench.drop(NAME)


def _once(bench: Bench, records: Any, rows: int) -> float:
    """Submit to a new dataset, drop that, and return rows per second."""
    rate = _load(bench, records, rows)
    bench.drop(NAME)
    return rate


def _load(bench: Bench, records: Any, rows: int) -> float:
    bench.client.create_dataset(CONTRACT, wait=True)
    began = time.perf_counter()
    job = bench.client.submit(NAME, records, wait=True)
    seconds = time.perf_counter() - began
    if job["record_counts"]["succeeded"] != rows:
        raise RuntimeError(f"{rows} rows were sent; {job['record_counts']}")
    return rows / seconds


def _read(bench: Bench, rows: int) -> Iterator[Row]:
    """Yield how long ``to_pandas`` takes, and the rate of records that are read one by one."""
    times = []
    for _ in range(bench.size(3, 1)):
        began = time.perf_counter()
        frame = bench.client.records(NAME).to_pandas()
        times.append(time.perf_counter() - began)
        if len(frame) != rows:
            raise RuntimeError(f"{rows} rows are stored; the frame has {len(frame)}")
    seconds, some = statistics.median(times), min(rows, 50_000)
    began = time.perf_counter()
    count = sum(1 for _ in islice(bench.client.records(NAME, page_size=1000), some))
    each = count / (time.perf_counter() - began)
    yield Row(
        f"records(…).to_pandas() of {rows:,} rows",
        f"{show(seconds)} s, {rows / seconds:,.0f} rows/s; one by one {each:,.0f} rows/s",
        values={
            "seconds": round(seconds, 3),
            "rows_per_second": round(rows / seconds, 1),
            "one_by_one": round(each, 1),
        },
        figure=seconds,
        lower=True,
    )


def _frame(rows: int) -> pd.DataFrame:
    numbers = np.arange(rows)
    draws = np.random.default_rng(20260131)
    return pd.DataFrame(
        {
            "id": numbers,
            "sensor": pd.Series([f"sensor {number % 1000}" for number in range(rows)], dtype="str"),
            "at": pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(numbers, unit="s"),
            "value": np.where(numbers % 10 == 0, np.nan, draws.normal(20, 5, rows)),
            "note": pd.Series([f"note {number}" if number % 3 else None for number in range(rows)], dtype="str"),
        }
    )


def _write(frame: pd.DataFrame, path: Path) -> None:
    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    with path.open("wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
        stream.write_table(table, max_chunksize=65_536)
