"""Small jobs over HTTP for a minute, after 10,000 jobs of history, what each costs, and procrastinate beside it."""

import json
import time
from collections.abc import Iterator

from benchmarks import usage
from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench
from benchmarks.peers import PeerUnavailable

TARGET = 300.0
# Eight clients, each with at most eight jobs under way: a backlog never hides that the workers do not keep up.
CONNECTIONS, WAIT_EVERY = 8, 8
# Jobs that a worker process of procrastinate carries out at once: each is tried, the best one measured.
CONCURRENCIES = (5, 10, 30)


def run(bench: Bench) -> Iterator[Row]:
    """Yield the sustained rate, the times of submit and job under that load, and CPU time per job."""
    dataset = bench.small_dataset()
    path = f"/datasets/{dataset}/records"
    history = bench.size(10_000, 200)
    had = bench.row("SELECT count(*) FROM gristmill.jobs WHERE state = 'succeeded'")[0]
    if had < history:
        bench.say(f"  {history - had:,} jobs of history")
        body = json.dumps({"records": [bench.small_record("history-{n}")]})
        bench.post(path, [body], requests=history - had, connections=CONNECTIONS, wait_every=WAIT_EVERY)
    bench.wait_idle()
    bench.reset_statements()
    pids = bench.pids()
    seconds = bench.size(60, 5)
    body = json.dumps({"records": [bench.small_record("through-{n}")]})
    used, busy = usage.cpu_seconds(pids), usage.machine_busy()
    answers = bench.post(path, [body], seconds=seconds, connections=CONNECTIONS, wait_every=WAIT_EVERY)
    backlog = bench.row("SELECT count(*) FROM gristmill.jobs WHERE finished_at IS NULL")[0]
    after, busy_after = usage.cpu_seconds(pids), usage.machine_busy()
    drained = bench.wait_idle()
    window = (answers.began_at, answers.began_at + answers.wall)
    done, took = _finished(bench, dataset, *window)
    submitted, finished = answers.count / answers.wall, len(done) / answers.wall
    slowest = _slowest_slice(done, *window, length=min(10.0, answers.wall))
    yield Row(
        f"small jobs over HTTP for {seconds} s after {history:,} jobs of history",
        f"submitted {show(submitted)}/s, done {show(finished)}/s, slowest 10 s {show(slowest)}/s, "
        f"backlog at the end {backlog} ({show(drained)} s)",
        f"done ≥ {TARGET:g}/s",
        finished >= TARGET,
        {
            "submitted_per_second": round(submitted, 1),
            "done_per_second": round(finished, 1),
            "slowest_ten_seconds_per_second": round(slowest, 1),
            "backlog": backlog,
            "statements": _statements(bench, answers.count),
        },
    )
    posts, jobs = Times.of(answers.times), Times.of(took)
    yield Row(
        "  under that load: POST, and submit to succeeded",
        f"POST {posts}; job {jobs}",
        values={"post": posts.values(), "job": jobs.values()},
    )
    each = {kind: 1000 * (after[kind] - used[kind]) / answers.count for kind in used}
    each["load generator"] = 1000 * answers.cpu / answers.count
    passed = busy_after[1] - busy[1]
    ours = sum(after[kind] - used[kind] for kind in used) + answers.cpu
    others = max(0.0, busy_after[0] - busy[0] - ours)
    yield Row(
        "  CPU milliseconds per job",
        ", ".join(f"{kind} {show(value)}" for kind, value in each.items())
        + f"; sum {show(sum(each.values()))}; others kept {show(others / passed)} cores busy",
        values={**{kind: round(value, 3) for kind, value in each.items()}, "others_cores": round(others / passed, 3)},
    )
    yield _procrastinate(bench, finished)


def _procrastinate(bench: Bench, rate: float) -> Row:
    """Return the row of the peer: the same records, load generator, numbers of connections and worker processes."""
    what = "  procrastinate behind a FastAPI endpoint that checks the same record, its job upserts the row"
    plan = {
        "workers": bench.settings.worker_processes, "concurrencies": list(CONCURRENCIES),
        "history": bench.size(10_000, 200), "trial_seconds": bench.size(8, 2), "seconds": bench.size(60, 4),
        "connections": CONNECTIONS, "wait_every": WAIT_EVERY,
        "body": json.dumps({"records": [bench.small_record("through-{n}")]}),
    }  # fmt: skip
    try:
        # Installed before anything is stopped for it.
        assert bench.peers.python
        url = bench.fresh_database("peer_procrastinate")
        with bench.only_postgres():
            found = bench.peers.run("procrastinate", {**plan, "url": url}, bench.folder / "procrastinate.log", 420)
    except PeerUnavailable as error:
        return Row(what, f"not measured: {error}", "above it", None, {"unavailable": str(error)})
    other = found["done_per_second"]
    return Row(
        what,
        f"done {show(other)}/s ({found['concurrency']} at once in each of {plan['workers']} workers); "
        f"Gristmill {show(rate / other)} times",
        "above it",
        rate > other,
        {**found, "ratio": round(rate / other, 3)},
    )


def _finished(bench: Bench, dataset: str, start: float, end: float) -> tuple[list[float], list[float]]:
    """Return, for the jobs that ended in the window, when (Unix time) and after how many milliseconds."""
    rows = bench.rows(
        "SELECT extract(epoch FROM finished_at)::float, extract(epoch FROM finished_at - created_at)::float * 1000 "
        "FROM gristmill.jobs WHERE dataset = %s AND state = 'succeeded' "
        "AND finished_at BETWEEN to_timestamp(%s) AND to_timestamp(%s) AND created_at >= to_timestamp(%s)",
        (dataset, start, end, start),
    )
    return [row[0] for row in rows], [row[1] for row in rows]


def _slowest_slice(done: list[float], start: float, end: float, length: float) -> float:
    slices = max(1, int((end - start) / length))
    counts = [sum(start + n * length <= at < start + (n + 1) * length for at in done) for n in range(slices)]
    return min(counts) / length


def _statements(bench: Bench, jobs: int) -> list[dict[str, object]]:
    """Return the statements on which Postgres spent most time, for whoever wants to make it less."""
    time.sleep(1)
    rows = bench.rows(
        "SELECT left(regexp_replace(query, '\\s+', ' ', 'g'), 120), calls, total_exec_time, wal_bytes "
        "FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 15"
    )
    return [
        {
            "statement": row[0],
            "calls_per_job": round(row[1] / jobs, 2),
            "ms_per_job": round(row[2] / jobs, 4),
            "wal_bytes_per_job": int(row[3] / jobs),
        }
        for row in rows
    ]
