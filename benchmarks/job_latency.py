"""One small job at a time on an idle stack: from the POST to the answer that says ``succeeded``."""

import json
from collections.abc import Iterator

from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench

TARGET_MS = 30.0


def run(bench: Bench) -> Iterator[Row]:
    """Yield the latency as the client sees it, and as the job's own times tell it."""
    dataset = bench.small_dataset()
    body = json.dumps({"records": [bench.small_record("{n}")]})
    path = f"/datasets/{dataset}/records"
    bench.post(f"{path}?wait=30", [body], requests=bench.size(50, 20))
    bench.wait_idle()
    answers = bench.post(f"{path}?wait=30", [body], requests=bench.size(1000, 100), keep=True)
    jobs = [json.loads(answer) for answer in answers.bodies]
    if any(job["state"] != "succeeded" for job in jobs):
        raise RuntimeError("a job had not succeeded within 30 s")
    seen = Times.of(answers.times)
    yield Row(
        "one small job, idle: submit to succeeded, seen by the client",
        str(seen),
        f"p50 ≤ {TARGET_MS:g} ms",
        seen.p50 <= TARGET_MS,
        seen.values(),
    )
    # Where the time goes: each part is the difference of two moments on the clock of Postgres.
    parts = bench.row(
        """SELECT array_agg(extract(epoch FROM j.finished_at - j.created_at) * 1000.0)::float[],
            array_agg(extract(epoch FROM c.sent_at - j.created_at) * 1000.0)::float[],
            array_agg(extract(epoch FROM c.claimed_at - c.sent_at) * 1000.0)::float[],
            array_agg(extract(epoch FROM j.finished_at - c.claimed_at) * 1000.0)::float[]
        FROM gristmill.jobs j JOIN gristmill.chunks c ON c.job_id = j.id WHERE j.id = ANY(%s::uuid[])""",
        ([job["id"] for job in jobs],),
    )
    whole, sent, claimed, done = (Times.of(part) for part in parts)
    yield Row(
        "  the same by the job's times, finished_at - created_at",
        f"{whole}; p50 until sent {show(sent.p50)}, claimed {show(claimed.p50)}, done {show(done.p50)}",
        values={
            **whole.values(),
            "sent": sent.values(),
            "claimed": claimed.values(),
            "done": done.values(),
        },
    )
