"""A file of NDJSON text rows, embedded with ``static``: from the first byte sent to searchable."""

import time
from collections.abc import Iterator
from typing import Any

from benchmarks import usage
from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.ingest_parquet import compare
from benchmarks.texts import Texts, real_texts, write_ndjson

TARGET, TARGET_CHROMA, TARGET_LONG = 20_000.0, 8.0, 0.8
ROUNDS = 3


def contract(name: str) -> dict[str, Any]:
    """Return the contract of a dataset of texts that is searched by meaning."""
    return {
        "name": name,
        "fields": [
            {"name": "name", "type": "text", "required": True, "max_length": 300},
            {"name": "text", "type": "text", "required": True},
        ],
        "key": ["name"],
        "embedding": {"from": ["text"], "embedder": "static", "metric": "cosine"},
    }


def run(bench: Bench) -> Iterator[Row]:
    """Yield rows per second of a usual file and of one four times as long, and what memory each took."""
    texts = real_texts(60_000)
    _upload(bench, texts, 2000)
    records = bench.size(60_000, 5000)
    rounds = [_upload(bench, texts, records) for _ in range(bench.size(ROUNDS, 1, brief=1))]
    middle = sorted(rounds, key=lambda one: one["rows_per_second"])[len(rounds) // 2]
    yield Row(
        f"NDJSON text rows, embedded, to searchable: {records:,} rows, {show(middle['mib'])} MiB",
        f"{middle['rows_per_second']:,.0f} rows/s, median of {len(rounds)} ("
        + ", ".join(f"{one['rows_per_second']:,.0f}" for one in rounds)
        + f"); answered 202 after {show(middle['accepted_seconds'])} of {show(middle['seconds'])} s",
        f"≥ {TARGET:,.0f} rows/s",
        middle["rows_per_second"] >= TARGET,
        {**middle, "rounds": rounds, "source": texts.source},
        figure=middle["rows_per_second"],
    )
    if not bench.brief:
        yield from compare(bench, middle["rows_per_second"], TARGET_CHROMA)
    longer = _upload(bench, texts, 4 * records)
    yield Row(
        f"  the same, {4 * records:,} rows, {show(longer['mib'])} MiB",
        f"{longer['rows_per_second']:,.0f} rows/s",
        values=longer,
        figure=longer["rows_per_second"],
    )
    ratio = longer["rows_per_second"] / middle["rows_per_second"]
    yield Row(
        "  rate of the long file by that of the usual one, default settings",
        show(ratio),
        f"≥ {TARGET_LONG:g}",
        ratio >= TARGET_LONG,
        {"ratio": round(ratio, 3)},
        figure=ratio,
    )
    yield Row(
        "  highest resident memory of one process, MiB: before, usual file, four times as long",
        "; ".join(f"{kind} {_memory(kind, middle, longer)}" for kind in ("api", "worker")),
    )


def _memory(kind: str, usual: dict[str, Any], longer: dict[str, Any]) -> str:
    return f"{usual[f'{kind}_before_mib']:.0f}, {usual[f'{kind}_peak_mib']:.0f}, {longer[f'{kind}_peak_mib']:.0f}"


def _upload(bench: Bench, texts: Texts, records: int) -> dict[str, Any]:
    """Upload into a new dataset, check that every row is there and found, and drop it again."""
    name = "bench_ingest"
    path = bench.folder / "texts.ndjson"
    size = write_ndjson(path, texts, records)
    bench.client.create_dataset(contract(name), wait=True)
    bench.wait_idle()
    pids = bench.pids()
    usage.forget_peaks(pids)
    before = {kind: usage.peak_mib(pids, kind) for kind in ("api", "worker")}
    used = usage.cpu_seconds(pids)
    began = time.perf_counter()
    job = bench.client.submit(name, path)
    accepted = time.perf_counter() - began
    job = bench.client.wait(job["id"])
    seconds = time.perf_counter() - began
    after = usage.cpu_seconds(pids)
    hits = bench.client.search(name, text=texts.held_out[0], k=10)["hits"]
    stored = bench.row(f"SELECT count(*), count(_embedding) FROM data.{name}")
    if job["record_counts"]["succeeded"] != records or stored[0] != records or len(hits) != 10:
        raise RuntimeError(f"{records} rows were sent; {job['record_counts']}, stored {stored}, {len(hits)} hits")
    peaks = {kind: usage.peak_mib(pids, kind) for kind in ("api", "worker")}
    bench.drop(name)
    return {
        "rows": records,
        "mib": round(size / 2**20, 2),
        "seconds": round(seconds, 3),
        "accepted_seconds": round(accepted, 3),
        "rows_per_second": round(records / seconds, 1),
        "embedded": stored[1],
        **{f"{kind}_before_mib": round(value, 1) for kind, value in before.items()},
        **{f"{kind}_peak_mib": round(value, 1) for kind, value in peaks.items()},
        "cpu_us_per_row": {kind: round(1e6 * (after[kind] - used[kind]) / records, 1) for kind in used},
    }
