"""Creates below one parent, with and without limits, beside small jobs into a dataset without parents; and fifty of
them at once that do not all fit.
"""

import threading
import time
from collections.abc import Iterator
from typing import Any

from benchmarks.as_client import NUMBER, sent
from benchmarks.figures import Row, Times, show
from benchmarks.harness import MAY_FAIL, Bench
from gristmill.client import Conflict, JobFailed

CONNECTIONS, WAIT_EVERY = 8, 8
PLACE = "bench_place"
FIELDS = [
    {"name": "name", "type": "text", "required": True, "max_length": 64, "normalize": "NFC"},
    {"name": "area", "type": "integer", "required": True, "minimum": 0},
    {"name": "population", "type": "integer", "required": True, "minimum": 0},
    {"name": "place", "type": "text", "required": True, "max_length": 64, "normalize": "NFC"},
]
LIMITS = [{"sum": "area", "at_most": "area"}, {"sum": "population", "at_most": "population"}]
# The dataset, and the parent of its records; least share of the rate without parents.
WAYS: dict[str, tuple[str, list[dict[str, Any]], float | None]] = {
    "without parents": ("bench_plain", [], None),
    "with a parent, no limits": ("bench_free", [{"field": "place", "dataset": PLACE}], 0.9),
    "with a parent and two limits": ("bench_limited", [{"field": "place", "dataset": PLACE, "limits": LIMITS}], 0.6),
}
AT_ONCE = 50


def run(bench: Bench) -> Iterator[Row]:
    """Yield the rate of each way, in turns, and the time in which fifty concurrent creates are answered."""
    rounds, seconds = bench.size(5, 1, brief=3), bench.size(6, 2, brief=4)
    client = bench.client
    client.create_dataset({"name": PLACE, "fields": FIELDS[:3], "key": ["name"]}, wait=True)
    client.submit(PLACE, [{"name": "here", "area": 10**12, "population": 10**12}], wait=True)
    for name, parents, _ in WAYS.values():
        body = {"name": name, "fields": FIELDS, "key": ["name"]}
        client.create_dataset({**body, "parents": parents} if parents else body, wait=True)
    try:
        rates: dict[str, list[float]] = {way: [] for way in WAYS}
        for turn in range(rounds + 1):
            for way in WAYS:
                rate = _turn(bench, WAYS[way][0], turn, seconds)
                if turn:
                    # In the first one every process goes this way for the first time.
                    rates[way].append(rate)
        yield from _rates(bench, rates)
        yield from _at_once(bench)
    finally:
        for name, _, _ in WAYS.values():
            bench.drop(name)
        bench.drop(PLACE)


def _turn(bench: Bench, name: str, turn: int, seconds: int) -> float:
    record = {"name": f"{turn}-{NUMBER}", "area": 1, "population": 7, "place": "here"}
    request = sent(lambda client: client.submit(name, [record], on_conflict="replace"))
    bench.wait_idle()
    answers = bench.send(request, seconds=seconds, connections=CONNECTIONS, wait_every=WAIT_EVERY)
    bench.wait_idle()
    first, last, failed = bench.row(
        "SELECT min(j.created_at), max(j.finished_at), count(*) FILTER (WHERE j.state <> 'succeeded')"
        " FROM gristmill.idempotency_keys k JOIN gristmill.jobs j ON j.id = k.job_id WHERE k.key LIKE %s",
        (request.key_prefix + "%",),
    )
    if failed:
        raise RuntimeError(f"{failed} of {answers.count} creates failed")
    return answers.count / float((last - first).total_seconds())


def _rates(bench: Bench, rates: dict[str, list[float]]) -> Iterator[Row]:
    plain = sum(rates["without parents"])
    for way, (name, _, least) in WAYS.items():
        rate, ratio = sum(rates[way]) / len(rates[way]), sum(rates[way]) / plain
        children = bench.row(f"SELECT count(*) FROM data.{name}")[0]
        slowest = min(one / other for one, other in zip(rates[way], rates["without parents"], strict=True))
        yield Row(
            f"creates by {CONNECTIONS} connections, one record each: {way}",
            f"done {show(rate)}/s, {show(ratio)} × those without parents, the last turn {show(rates[way][-1])}/s with "
            f"{children:,} records there, the worst turn {show(slowest)} ×",
            "" if least is None else f"≥ {least} ×",
            None if least is None else ratio >= least,
            {"done_per_second": round(rate, 1), "ratio": round(ratio, 3), "records": children},
            figure=rate,
        )


def _at_once(bench: Bench) -> Iterator[Row]:
    """Yield how long fifty clients wait of whom twenty fit, each for the end of its job."""
    client, room = bench.client, 20
    client.submit(PLACE, [{"name": "full", "area": room, "population": 1000}], wait=True)
    took: list[float] = []
    succeeded: list[str] = []
    refused: list[str] = []
    labels = {MAY_FAIL: "yes"}

    def create(number: int) -> None:
        record = {"name": f"at once {number}", "area": 1, "population": 1, "place": "full"}
        began = time.monotonic()
        try:
            succeeded.append(
                client.submit("bench_limited", [record], on_conflict="fail", labels=labels, wait=True)["id"]
            )
        except (Conflict, JobFailed) as error:
            # At once where nothing unfinished could have changed it, else by the job.
            refused.append(str(error))
        took.append(time.monotonic() - began)

    threads = [threading.Thread(target=create, args=(number,)) for number in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times = Times.of([1000 * seconds for seconds in took])
    yield Row(
        f"{AT_ONCE} concurrent creates below a parent with room for {room}, each waited for",
        f"{len(succeeded)} succeeded, all were answered within {show(max(took))} s; {times}",
        f"{room} of {AT_ONCE}, within 2 s",
        len(succeeded) == room and len(refused) == AT_ONCE - room and max(took) <= 2,
        {"succeeded": len(succeeded), "slowest_seconds": round(max(took), 3), **times.values()},
        figure=max(took),
        lower=True,
    )
