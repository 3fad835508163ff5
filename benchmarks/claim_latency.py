"""What a million finished jobs do to the next one: the statements of dispatcher and worker, and submit to started."""

import json
import time
from collections.abc import Iterator

from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench
from gristmill.core.database import Database
from gristmill.jobs.repository import claim as claims
from gristmill.jobs.repository import dispatch
from gristmill.jobs.repository import settle as settling

# Two worker processes with four messages each: what the dispatcher keeps unclaimed by default.
WINDOW = 8
BATCH = 100_000
# As they would lie there after a month: ages spread evenly, half of them of the dataset that goes on being used, one in
# a hundred exclusive. Their payloads were deleted when they were done.
_HISTORY = """
WITH made AS (
    INSERT INTO gristmill.jobs (id, seq, type, scope, exclusive, dataset, state, queue, priority, args, labels,
        submitted_by, request_id, max_attempts, chunks_total, chunks_done, records_total, records_succeeded, created_at,
        run_at, started_at, finished_at)
    SELECT uuidv7(-age), nextval('gristmill.job_number'), 'records.ingest',
        CASE WHEN n %% 2 = 0 THEN %(scope)s ELSE 'dataset:history-' || n %% 500 END, n %% 100 = 0, 'history',
        'succeeded', 'default', 5, %(args)s::jsonb, '{}', 'local', 'history-' || n, 5, 1, 1, 1, 1, now() - age,
        now() - age, now() - age + interval '5 ms', now() - age + interval '10 ms'
    FROM (SELECT n, (%(total)s - n) * interval '28 days' / %(total)s AS age
        FROM generate_series(%(first)s::int, %(last)s::int) AS n) AS numbers
    RETURNING id, seq, created_at
)
INSERT INTO gristmill.chunks (job_id, number, state, queue, priority, seq, run_at, first_record, records, dispatch,
    fence, attempts, sent_at, claimed_at, worker, xact)
SELECT id, 0, 'done', 'default', 5, seq, created_at, 0, 1, 1, 1, 1, created_at, created_at, 'history:1', 1 FROM made
"""


def run(bench: Bench) -> Iterator[Row]:
    """Yield the times without and with a long history, and their ratio."""
    bench.small_dataset()
    finished = bench.row("SELECT count(*) FROM gristmill.jobs")[0]
    before = _measure(bench, "before")
    _insert_history(bench, bench.size(1_000_000, 20_000))
    now = bench.row("SELECT count(*) FROM gristmill.jobs")[0]
    after = _measure(bench, "after")
    for name, what in (
        ("claim", "claim: statement and commit"),
        ("mark", f"  choosing and marking up to {WINDOW} due chunks as sent"),
        ("started", "  one job, idle: submit to started"),
    ):
        one, other = before[name], after[name]
        ratio = other.p50 / one.p50
        # What differs by less than a tenth of a millisecond or a quarter is taken for unchanged.
        same = ratio <= 1.25 or other.p50 - one.p50 <= 0.1
        yield Row(
            f"{what}, {finished:,} then {now:,} jobs of history" if name == "claim" else what,
            f"{one}; then {other}; ratio of p50 {show(ratio)}",
            "unchanged" if name == "claim" else "",
            same if name == "claim" else None,
            {"before": one.values(), "after": other.values(), "ratio": round(ratio, 3)},
        )


def _measure(bench: Bench, name: str) -> dict[str, Times]:
    count = bench.size(500, 40)
    path = f"/datasets/{bench.small_dataset()}/records"
    body = json.dumps({"records": [bench.small_record(f"claim-{name}-{{n}}")]})
    bench.post(f"{path}?wait=30", [body], requests=20, first=1_000_000)
    bench.wait_idle()
    jobs = bench.post(f"{path}?wait=30", [body], requests=count, keep=True)
    started = bench.rows(
        "SELECT extract(epoch FROM started_at - created_at)::float * 1000 FROM gristmill.jobs "
        "WHERE id = ANY(%s::uuid[])",
        ([json.loads(answer)["id"] for answer in jobs.bodies],),
    )
    # With the dispatcher stopped the bench takes the part of dispatcher and worker, with their own statements.
    bench.stop_service("app", "dispatcher")
    database = Database(bench.settings.database_url, "benchmarks", pool=1)
    try:
        bench.post(path, [body], requests=count, first=2_000_000)
        mark, claim = _take_part(bench, database)
    finally:
        database.close()
        bench.up()
    bench.wait_idle()
    return {"claim": claim, "mark": mark, "started": Times.of([row[0] for row in started])}


def _take_part(bench: Bench, database: Database) -> tuple[Times, Times]:
    marked, claimed, taken = [], [], []
    while True:
        began = time.perf_counter()
        with database.transaction() as connection:
            messages = dispatch.mark_sent(connection, "default", WINDOW)
        if not messages:
            break
        marked.append((time.perf_counter() - began) * 1000)
        for message in messages:
            began = time.perf_counter()
            with database.autocommit() as connection:
                address = (message.job_id, message.number, message.dispatch)
                (row,) = claims.claim_all(connection, [address], bench.settings.jobs_lease, "benchmarks")
            claimed.append((time.perf_counter() - began) * 1000)
            if not row["claimed"]:
                raise RuntimeError(f"the claim of {message} found nothing")
            taken.append((message, row["fence"]))
    # They are real jobs: they go back with their attempt, and run when the dispatcher does.
    with database.transaction() as connection:
        for message, fence in taken:
            settling.put_back(connection, message.job_id, message.number, fence, refund=True)
    return Times.of(marked), Times.of(claimed)


def _insert_history(bench: Bench, total: int) -> None:
    bench.say(f"  {total:,} finished jobs by SQL")
    scope, args = bench.row("SELECT scope, args FROM gristmill.jobs WHERE dataset = 'bench_small' "
                            "AND type = 'records.ingest' ORDER BY id DESC LIMIT 1")  # fmt: skip
    for first in range(1, total + 1, BATCH):
        last = min(total, first + BATCH - 1)
        given = {"scope": scope, "args": json.dumps(args), "total": total}
        bench.rows(_HISTORY, {**given, "first": first, "last": last})
    # Autovacuum would have been here many times in a month.
    for table in ("jobs", "chunks"):
        bench.rows(f"VACUUM (ANALYZE) gristmill.{table}")
