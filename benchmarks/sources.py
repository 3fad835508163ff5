"""The simulator at 1,000 records a second in batches of 10: whether its lag grows, and what its runner costs."""

import time
from collections.abc import Iterator
from typing import Any

from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.usage import cpu_seconds

TARGET_SHARE = 0.4
RATE, BATCH = 1000, 10
CONTRACT = {
    "name": "bench_source",
    "fields": [
        {"name": "timestamp", "type": "timestamp", "required": True},
        {"name": "id", "type": "uuid", "required": True},
        {"name": "value", "type": "float", "required": True},
    ],
    "time_field": "timestamp",
}
SETTINGS = {"interval": 1 / RATE, "batch_size": BATCH, "batch_seconds": 1.0, "seed": 1}
_NAME = "bench"


def run(bench: Bench) -> Iterator[Row]:
    """Yield the rate, the lag, and the CPU time of each process, over ten minutes."""
    bench.client.create_dataset(CONTRACT, wait=True)
    bench.client.create_source(_NAME, "simulator", str(CONTRACT["name"]), SETTINGS)
    try:
        yield from _measure(bench)
    finally:
        bench.client.delete_source(_NAME)
        bench.wait_idle()
        bench.client.drop_dataset(str(CONTRACT["name"]), wait=True)


def _measure(bench: Bench) -> Iterator[Row]:
    warm, seconds = bench.size(10, 3), bench.size(600, 10, 30)
    time.sleep(warm)
    before, used, began = bench.client.source(_NAME), cpu_seconds(bench.pids()), time.monotonic()
    lags: list[float] = []
    while (left := began + seconds - time.monotonic()) > 0:
        time.sleep(min(1.0, left))
        lags.append(_lag(bench.client.source(_NAME)))
    passed = time.monotonic() - began
    after, now = bench.client.source(_NAME), cpu_seconds(bench.pids())
    rate = (after["records"] - before["records"]) / passed
    jobs = (after["batches"] - before["batches"]) / passed
    third = max(1, len(lags) // 3)
    first, last = sum(lags[:third]) / third, sum(lags[-third:]) / third
    yield Row(
        f"simulator at {RATE:,} records/s, batches of {BATCH}, {passed:.0f} s: records submitted",
        f"{show(rate)}/s in {show(jobs)} jobs/s",
        f"≥ {0.99 * RATE:,.0f}/s",
        rate >= 0.99 * RATE,
        {"records_per_second": round(rate, 1), "jobs_per_second": round(jobs, 1)},
        figure=rate,
    )
    yield Row(
        "  its lag: mean of the first and the last third, and the largest",
        f"{first * 1000:.0f} ms, {last * 1000:.0f} ms, {max(lags) * 1000:.0f} ms",
        "no growth",
        last <= first + 0.1,
        {"first": first, "last": last, "largest": max(lags), "lags": lags},
    )
    shares = {kind: (now[kind] - used[kind]) / passed for kind in now}
    runner = shares["source-runner"]
    yield Row(
        "  CPU of the source runner",
        f"{runner:.2f} of a core",
        f"< {TARGET_SHARE:g} of a core",
        runner < TARGET_SHARE,
        {kind: round(share, 3) for kind, share in shares.items()},
    )
    others = ", ".join(f"{kind} {share:.2f}" for kind, share in shares.items() if kind != "source-runner")
    yield Row("  CPU of the other processes, which carry out the jobs", f"{others} of a core")


def _lag(source: dict[str, Any]) -> float:
    return 0.0 if source["lag"] is None else float(source["lag"]["seconds"])
