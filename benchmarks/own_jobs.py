"""Jobs of one's own: from POST /jobs to done on an idle stack, and their sustained rate beside small ingest jobs.

On a stack of its own, which loads ``benchmarks.own_plugin``; the other one idles meanwhile.
"""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks import own_plugin
from benchmarks.as_client import NUMBER, Request, sent
from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench

TARGET_MS = 30.0
TARGET_RATIO = 0.9
# As in ``job_throughput``.
CONNECTIONS, WAIT_EVERY = 8, 8
_ROUNDS = 2


def run(bench: Bench) -> Iterator[Row]:
    """Yield the latency of each kind, then the rates, each measured in turns."""
    with own_stack(bench) as own:
        yield _idle(own)
        yield from _sustained(own)


@contextlib.contextmanager
def own_stack(bench: Bench) -> Iterator[Bench]:
    """Give a stack that loads the plugin, and has its table; it is gone afterwards."""
    own = Bench(bench.quick, bench.say, bench.folder.parent, bench.cache, plugins=own_plugin.__name__)
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(Path(__file__).resolve().parents[1])
    try:
        own.up()
        own.rows(own_plugin.TABLE)
        yield own
    finally:
        own.close()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def _request(type_: str, name: str) -> Request:
    args = {"id": f"{name}-{NUMBER}", "note": "a small record", "value": 21.5}
    return sent(lambda client: client.submit_job(type_, args))


def _idle(bench: Bench) -> Row:
    body = json.dumps({"type": "bench.alone", "args": {"id": "idle-{n}", "note": "a small record", "value": 21.5}})
    bench.post("/jobs?wait=30", [body], requests=bench.size(50, 20))
    bench.wait_idle()
    answers = bench.post("/jobs?wait=30", [body], requests=bench.size(1000, 100), keep=True)
    if any(json.loads(answer)["state"] != "succeeded" for answer in answers.bodies):
        raise RuntimeError("a job had not succeeded within 30 s")
    seen = Times.of(answers.times)
    return Row(
        "one job of one's own, idle: POST /jobs to succeeded, seen by the client",
        str(seen),
        f"p50 ≤ {TARGET_MS:g} ms",
        seen.p50 <= TARGET_MS,
        seen.values(),
    )


def _sustained(bench: Bench) -> Iterator[Row]:
    dataset = bench.small_dataset()
    record = bench.small_record(f"ingest-{NUMBER}")
    ways = {
        "records.ingest": sent(lambda client: client.submit(dataset, [record])),
        "bench.shared": _request("bench.shared", "shared"),
        "bench.alone": _request("bench.alone", "alone"),
    }
    rates: dict[str, list[float]] = {type_: [] for type_ in ways}
    for request in ways.values():
        bench.send(request, requests=bench.size(500, 100), connections=CONNECTIONS, wait_every=WAIT_EVERY)
    for turn in range(_ROUNDS):
        # There and back, so that whatever the machine does befalls all of them.
        for type_, request in reversed(ways.items()) if turn % 2 else ways.items():
            bench.wait_idle()
            rates[type_].append(_rate(bench, type_, request))
    ingest, *own = ((type_, sum(found) / len(found)) for type_, found in rates.items())
    yield Row(f"  small ingest jobs, {_ROUNDS} turns", f"done {show(ingest[1])}/s", figure=ingest[1])
    for type_, rate in own:
        # Those that travel alone are shown as what leaving out ``shares`` costs.
        target = f"≥ {TARGET_RATIO:g} times small ingest jobs" if type_ == "bench.shared" else ""
        yield Row(
            f"jobs of one's own over HTTP, {'shares=True' if target else 'each alone'}: sustained",
            f"done {show(rate)}/s, {show(rate / ingest[1])} times small ingest jobs",
            target,
            rate >= TARGET_RATIO * ingest[1] if target else None,
            {"done_per_second": round(rate, 1), "ratio": round(rate / ingest[1], 3), "turns": rates[type_]},
            figure=rate,
        )


def _rate(bench: Bench, type_: str, request: Request) -> float:
    """Return how many jobs of the type were done each second."""
    seconds = bench.size(20, 3)
    answers = bench.send(request, seconds=seconds, connections=CONNECTIONS, wait_every=WAIT_EVERY)
    (done,) = bench.row(
        "SELECT count(*) FROM gristmill.jobs WHERE type = %s AND state = 'succeeded' "
        "AND finished_at BETWEEN to_timestamp(%s) AND to_timestamp(%s)",
        (type_, answers.began_at, answers.began_at + answers.wall),
    )
    return float(done / answers.wall)
