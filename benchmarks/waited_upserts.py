"""Upserts of one record, as the client sends them, each waited for, by 8 clients: what a program does that needs the
job's end before it goes on.
"""

from collections.abc import Iterator

from benchmarks.as_client import NUMBER, sent
from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench

CLIENTS = 8


def run(bench: Bench) -> Iterator[Row]:
    """Yield the rate, and the time from the request to the answer that says ``succeeded``."""
    dataset = bench.small_dataset()
    record = bench.small_record(f"waited-{NUMBER}")
    request = sent(lambda client: client.submit(dataset, [record], wait=True))
    bench.send(request, requests=50, connections=CLIENTS)
    bench.wait_idle()
    request = sent(lambda client: client.submit(dataset, [record], wait=True))
    answers = bench.send(request, seconds=bench.size(20, 3, brief=10), connections=CLIENTS)
    answers.require_finished()
    bench.wait_idle()
    times, rate = Times.of(answers.times), answers.count / answers.wall
    yield Row(
        f"upserts of one record with a key, each waited for by {CLIENTS} clients",
        f"{show(rate)}/s; submit to succeeded {times}",
        values={"per_second": round(rate, 1), **times.values()},
        figure=rate,
    )
    yield Row("  p50 of an upsert that is waited for, ms", show(times.p50), figure=times.p50, lower=True)
