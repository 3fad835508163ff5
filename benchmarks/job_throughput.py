"""Small jobs over HTTP after 10,000 jobs of history: as the client sends them, with a label behind a proxy, without a
key; what each costs; and procrastinate behind an endpoint that takes a unique key in the submitting transaction too.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from benchmarks import usage
from benchmarks.as_client import NUMBER, Request, sent
from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench
from benchmarks.peers import PeerUnavailable

TARGET_PEER = 1.3
# Eight clients, each with at most eight jobs under way: a backlog never hides that the workers do not keep up.
CONNECTIONS, WAIT_EVERY = 8, 8
# Jobs that a worker process of procrastinate carries out at once: each is tried, the best one measured.
CONCURRENCIES = (5, 10, 30)
PROXY = {"X-Forwarded-For": "203.0.113.7", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "mill.example"}


def run(bench: Bench) -> Iterator[Row]:
    """Yield the sustained rates, the times of submit and job under that load, CPU time per job, and the peer."""
    dataset = bench.small_dataset()
    history = bench.size(10_000, 200)
    had = bench.row("SELECT count(*) FROM gristmill.jobs WHERE state = 'succeeded'")[0]
    if had < history:
        bench.say(f"  {history - had:,} jobs of history")
        request = _request(bench, dataset, "history").without_key()
        bench.send(request, requests=history - had, connections=CONNECTIONS, wait_every=WAIT_EVERY)
    keyed = 0.0
    ways: dict[str, Callable[[], Request]] = {
        "with an Idempotency-Key, as the client sends them": lambda: _request(bench, dataset, "key"),
        "with a key, a label and X-Forwarded-For": lambda: _request(bench, dataset, "proxy", run="bench").with_headers(
            PROXY
        ),
        "without a key": lambda: _request(bench, dataset, "plain").without_key(),
    }
    for name, make in ways.items():
        # Every process has gone this way before it is measured.
        bench.send(make(), requests=bench.size(500, 100), connections=CONNECTIONS, wait_every=WAIT_EVERY)
        rate, rows = _measure(bench, dataset, name, make())
        keyed = keyed or rate
        yield from rows
    if not bench.brief:
        yield _procrastinate(bench, dataset, keyed)


def _request(bench: Bench, dataset: str, name: str, **labels: str) -> Request:
    record = bench.small_record(f"{name}-{NUMBER}")
    return sent(lambda client: client.submit(dataset, [record], labels=labels or None))


def _measure(bench: Bench, dataset: str, name: str, request: Request) -> tuple[float, list[Row]]:
    """Return the jobs that were done each second, and the rows of one way to ask."""
    bench.wait_idle()
    bench.reset_statements()
    pids = bench.pids()
    seconds = bench.size(30, 3, brief=15)
    used, busy = usage.cpu_seconds(pids), usage.machine_busy()
    answers = bench.send(request, seconds=seconds, connections=CONNECTIONS, wait_every=WAIT_EVERY)
    backlog = bench.row("SELECT count(*) FROM gristmill.jobs WHERE finished_at IS NULL")[0]
    after, busy_after = usage.cpu_seconds(pids), usage.machine_busy()
    drained = bench.wait_idle()
    window = (answers.began_at, answers.began_at + answers.wall)
    done, took = _finished(bench, dataset, *window)
    submitted, finished = answers.count / answers.wall, len(done) / answers.wall
    slowest = _slowest_slice(done, *window, length=min(10.0, answers.wall))
    posts, jobs = Times.of(answers.times), Times.of(took)
    each = {kind: 1000 * (after[kind] - used[kind]) / answers.count for kind in used}
    each["load generator"] = 1000 * answers.cpu / answers.count
    passed = busy_after[1] - busy[1]
    ours = sum(after[kind] - used[kind] for kind in used) + answers.cpu
    others = max(0.0, busy_after[0] - busy[0] - ours)
    return finished, [
        Row(
            f"small jobs over HTTP {name}: {seconds} s",
            f"submitted {show(submitted)}/s, done {show(finished)}/s, slowest 10 s {show(slowest)}/s, "
            f"backlog at the end {backlog} ({show(drained)} s)",
            values={
                "submitted_per_second": round(submitted, 1),
                "done_per_second": round(finished, 1),
                "slowest_ten_seconds_per_second": round(slowest, 1),
                "backlog": backlog,
                "statements": _statements(bench, answers.count),
            },
            figure=finished,
        ),
        Row(
            f"  {name}: POST, and submit to succeeded",
            f"POST {posts}; job {jobs}",
            values={"post": posts.values(), "job": jobs.values()},
        ),
        Row(
            f"  {name}: CPU milliseconds per job",
            ", ".join(f"{kind} {show(value)}" for kind, value in each.items())
            + f"; sum {show(sum(each.values()))}; others kept {show(others / passed)} cores busy",
            values={
                **{kind: round(value, 3) for kind, value in each.items()},
                "others_cores": round(others / passed, 3),
            },
            figure=sum(each.values()),
            lower=True,
        ),
    ]


def _procrastinate(bench: Bench, dataset: str, rate: float) -> Row:
    """Return the row of the peer: the same records, load generator, numbers of connections and worker processes."""
    what = (
        "  procrastinate behind a FastAPI endpoint that checks the same record and inserts a unique key in the "
        "submitting transaction; its job upserts the row"
    )
    # As many bytes as the client sends to Gristmill, and a key in each.
    request = _request(bench, dataset, "key")
    request = replace(request, path="/api/v1/records", body=f'{{"records": [{request.body.strip()}]}}')
    request = request.with_headers({"content-type": "application/json"})
    plan = {
        "workers": bench.settings.worker_processes, "concurrencies": list(CONCURRENCIES),
        "history": bench.size(10_000, 200), "trial_seconds": bench.size(8, 2), "seconds": bench.size(30, 3),
        "connections": CONNECTIONS, "wait_every": WAIT_EVERY,
        "request": request.plan(),
    }  # fmt: skip
    try:
        # Installed before anything is stopped for it.
        assert bench.peers.python
        url = bench.fresh_database("peer_procrastinate")
        with bench.only_postgres():
            found = bench.peers.run("procrastinate", {**plan, "url": url}, bench.folder / "procrastinate.log", 420)
    except PeerUnavailable as error:
        return Row(what, f"not measured: {error}", f"≥ {TARGET_PEER:g} times it", None, {"unavailable": str(error)})
    other = found["done_per_second"]
    return Row(
        what,
        f"done {show(other)}/s ({found['concurrency']} at once in each of {plan['workers']} workers); "
        f"Gristmill {show(rate / other)} times",
        f"≥ {TARGET_PEER:g} times it",
        rate >= TARGET_PEER * other,
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
