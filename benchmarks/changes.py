"""PATCH and DELETE by key on one dataset, as the client sends them: rates, waited for by each client, and the order."""

from collections.abc import Iterator
from typing import Any

from benchmarks.as_client import NUMBER, RECORD, Request, sent
from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench

NAME = "bench_changes"
CONTRACT = {
    "name": NAME,
    "fields": [{"name": "id", "type": "integer", "required": True}, {"name": "value", "type": "text"}],
    "key": ["id"],
}
CONNECTIONS, WAIT_EVERY = 8, 8
# So few that each of them is patched many times, several times at once too.
PATCHED = 50


def run(bench: Bench) -> Iterator[Row]:
    """Yield the rates of PATCH and of DELETE, and the former with each request waiting for its job."""
    seconds, rows = bench.size(20, 3, brief=10), bench.size(30_000, 3000)
    bench.client.create_dataset(CONTRACT, wait=True)
    bench.client.submit(NAME, [{"id": number, "value": "new"} for number in range(rows)], wait=True)
    bench.wait_idle()
    try:
        for waits in (False, True):
            yield from _patches(bench, seconds, waits)
        yield _deletes(bench, seconds, rows)
    finally:
        bench.drop(NAME)


def _patches(bench: Bench, seconds: int, waits: bool) -> Iterator[Row]:
    request = sent(lambda client: client.patch(NAME, RECORD, {"value": NUMBER}, wait=waits))
    shape = {"seconds": seconds, "connections": CONNECTIONS, "wait_every": 0 if waits else WAIT_EVERY}
    answers = bench.send(request, records=PATCHED, **shape)
    if waits:
        answers.require_finished()
    bench.wait_idle()
    jobs = _jobs(bench, request)
    rate, times, wrong = _rate(jobs), Times.of(answers.times), _out_of_order(bench, jobs)
    how = f"each waited for by {CONNECTIONS} clients" if waits else f"{CONNECTIONS} connections"
    yield Row(
        f"PATCH by key on one dataset, {how}",
        f"done {show(rate)}/s; {'submit to done' if waits else 'POST'} {times}; {wrong} of {PATCHED} records do not "
        "hold what was submitted last",
        "0 records",
        wrong == 0,
        {"done_per_second": round(rate, 1), "wrong": wrong, **times.values()},
        figure=rate,
    )
    if waits:
        yield Row("  p50 of a PATCH that is waited for, ms", show(times.p50), figure=times.p50, lower=True)


def _deletes(bench: Bench, seconds: int, rows: int) -> Row:
    request = sent(lambda client: client.delete(NAME, NUMBER))
    # No more than there are, so that none is a 404.
    answers = bench.send(request, seconds=seconds, requests=rows, connections=CONNECTIONS, wait_every=WAIT_EVERY)
    bench.wait_idle()
    left = bench.row(f"SELECT count(*) FROM data.{NAME}")[0]
    if left != rows - answers.count:
        raise RuntimeError(f"{answers.count} of {rows} records were deleted, and {left} are left")
    rate = _rate(_jobs(bench, request))
    return Row(
        f"DELETE by key on one dataset, {CONNECTIONS} connections",
        f"done {show(rate)}/s; DELETE {Times.of(answers.times)}",
        values={"done_per_second": round(rate, 1), "deleted": answers.count},
        figure=rate,
    )


def _jobs(bench: Bench, request: Request) -> list[dict[str, Any]]:
    """Return the jobs of these requests in the order of submission: number of the request, record, start, end."""
    rows = bench.rows(
        "SELECT right(k.key, 12)::int, (j.args -> 'key' ->> 0)::int, extract(epoch FROM j.created_at)::float, "
        "extract(epoch FROM j.finished_at)::float FROM gristmill.idempotency_keys k JOIN gristmill.jobs j "
        "ON j.id = k.job_id WHERE k.key LIKE %s ORDER BY j.seq",
        (request.key_prefix + "%",),
    )
    return [dict(zip(("number", "record", "created", "finished"), row, strict=True)) for row in rows]


def _rate(jobs: list[dict[str, Any]]) -> float:
    """Return jobs per second, from the first submission to the last end."""
    began, ended = min(job["created"] for job in jobs), max(job["finished"] for job in jobs)
    return len(jobs) / float(ended - began)


def _out_of_order(bench: Bench, jobs: list[dict[str, Any]]) -> int:
    """Return how many records do not hold what the job that was submitted last has set."""
    last = {job["record"]: str(job["number"]) for job in jobs}
    held = dict(bench.rows(f"SELECT id, value FROM data.{NAME} WHERE id = ANY(%s)", (list(last),)))
    return sum(held[record] != number for record, number in last.items())
