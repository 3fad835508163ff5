"""Schedules: what 10,000 of them cost while none is due, and how late the jobs of 10,000 hourly ones are.

On a stack of its own, which loads ``benchmarks.own_plugin``; the other one idles meanwhile.
"""

import json
import time
from collections.abc import Iterator

from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench
from benchmarks.own_jobs import own_stack
from benchmarks.usage import cpu_seconds

COUNT = 10_000
TARGET_SHARE, TARGET_SECONDS = 0.02, 1.0
_TURNS = 3
_ONE = "one"
# The others are copies of one that was created over REST, spread over the next hour.
_COPY = f"""
INSERT INTO gristmill.schedules (id, name, type, args, max_attempts, labels, priority, cron, every, zone, start,
    overlap, state, next_run_at, created_by, owned_since)
SELECT gen_random_uuid(), 'copy-' || n, type, args, max_attempts, labels, priority, cron, every, zone,
    start + moved, overlap, state, next_run_at + moved, created_by, owned_since
FROM gristmill.schedules, generate_series(2, %s) AS n, LATERAL (SELECT n * interval '1 hour' / %s AS moved) AS m
WHERE name = '{_ONE}'
"""
_DELETE = "DELETE FROM gristmill.schedules"
_LATE = """
SELECT 1000 * extract(epoch FROM created_at - (labels->>'scheduled_for')::timestamptz)::float,
    1000 * extract(epoch FROM started_at - (labels->>'scheduled_for')::timestamptz)::float
FROM gristmill.jobs WHERE labels ? 'scheduled_for' AND started_at IS NOT NULL
"""


def run(bench: Bench) -> Iterator[Row]:
    """Yield the share of a core, measured in turns, and the lateness."""
    with own_stack(bench) as own:
        own.wait_idle()
        yield _idle(own)
        yield _late(own)


def _idle(bench: Bench) -> Row:
    seconds = bench.size(30, 3)
    shares: dict[int, list[float]] = {0: [], COUNT: []}
    for _ in range(_TURNS):
        for count, found in shares.items():
            if count:
                _create(bench, "30d")
            # What the inserts leave behind is not what schedules cost.
            bench.rows("VACUUM ANALYZE gristmill.schedules")
            bench.rows("CHECKPOINT")
            before, began = cpu_seconds(bench.pids()), time.monotonic()
            time.sleep(seconds)
            after, passed = cpu_seconds(bench.pids()), time.monotonic() - began
            found.append(sum(after[kind] - before[kind] for kind in ("dispatcher", "postgres")) / passed)
            bench.rows(_DELETE)
    without, those = (sum(found) / _TURNS for found in shares.values())
    return Row(
        f"{COUNT:,} schedules of which none is due: CPU of dispatcher and Postgres, {_TURNS} turns of {seconds} s",
        f"{those - without:+.4f} of a core ({those:.4f}; {without:.4f} without them)",
        f"< {TARGET_SHARE:g} of a core",
        those - without < TARGET_SHARE,
        {str(count): [round(share, 5) for share in found] for count, found in shares.items()},
        figure=those,
        lower=True,
    )


def _late(bench: Bench) -> Row:
    _create(bench, "1h")
    seconds = bench.size(60, 5)
    # All of them are due in the hour that begins in an hour: from now on.
    bench.rows("UPDATE gristmill.schedules SET next_run_at = next_run_at - interval '1 hour', "
               "start = start - interval '1 hour'")  # fmt: skip
    time.sleep(seconds)
    bench.rows(_DELETE)
    bench.wait_idle()
    found = bench.rows(_LATE)
    submitted, started = Times.of([row[0] for row in found]), Times.of([row[1] for row in found])
    return Row(
        f"{COUNT:,} hourly schedules for {seconds} s, {show(len(found) / seconds)} runs/s: from its time to its job",
        f"submitted {submitted}; started {started}; the latest {show(submitted.highest)} ms",
        f"< {TARGET_SECONDS:g} s",
        submitted.highest < TARGET_SECONDS * 1000,
        {"submitted": submitted.values(), "started": started.values(), "runs": len(found)},
    )


def _create(bench: Bench, every: str) -> None:
    args = {"id": "scheduled", "note": json.dumps({"every": every}), "value": 21.5}
    bench.client.create_schedule(_ONE, "bench.alone", args, every=every)
    bench.rows(_COPY, (COUNT, COUNT))
