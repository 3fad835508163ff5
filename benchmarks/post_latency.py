"""POST of one record, 50 requests per second in an open loop, with the broker up and with the broker stopped."""

from collections.abc import Iterator

from benchmarks.as_client import NUMBER, sent
from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench
from benchmarks.load import Answers

RATE = 50.0
TARGET_P50_MS, TARGET_P99_MS = 8.0, 30.0


def run(bench: Bench) -> Iterator[Row]:
    """Yield the latency of the 202, and whether every job accepted without a broker has run when it was back."""
    bench.small_dataset()
    _post(bench, "warm-up", 5)
    bench.wait_idle()
    up = _post(bench, "up", bench.size(30, 5, brief=15))
    yield _row("broker up", up)
    for name, value in (("p50", Times.of(up.times).p50), ("p99", Times.of(up.times).p99)):
        yield Row(f"  {name} of a POST of one record at {RATE:g}/s, ms", show(value), figure=value, lower=True)
    bench.wait_idle()
    if bench.brief:
        return
    bench.stop_service("broker", "rabbitmq")
    try:
        down = _post(bench, "down", bench.size(30, 5))
    finally:
        bench.up()
    yield _row("broker stopped", down)
    took = bench.wait_idle()
    accepted = down.count
    ran = _stored(bench, "down")
    yield Row(
        "  jobs accepted without a broker that ran once it was back",
        f"{ran:,} of {accepted:,}, {show(took)} s after it was",
        "all",
        ran == accepted,
        {"accepted": accepted, "ran": ran, "seconds": round(took, 2)},
    )


def _post(bench: Bench, name: str, seconds: float) -> Answers:
    dataset, record = bench.small_dataset(), bench.small_record(f"{name}-{NUMBER}")
    request = sent(lambda client: client.submit(dataset, [record]))
    return bench.send(request, rate=RATE, seconds=seconds, connections=4)


def _row(when: str, answers: Answers) -> Row:
    times = Times.of(answers.times)
    return Row(
        f"POST of one record at {RATE:g}/s, {when}",
        str(times),
        f"p50 ≤ {TARGET_P50_MS:g}, p99 ≤ {TARGET_P99_MS:g} ms",
        times.p50 <= TARGET_P50_MS and times.p99 <= TARGET_P99_MS,
        {**times.values(), "rate": RATE},
    )


def _stored(bench: Bench, name: str) -> int:
    found: int = bench.row(
        "SELECT count(*) FROM gristmill.jobs j JOIN data.bench_small r ON r._seq = j.seq "
        "WHERE r.id LIKE %s AND j.state = 'succeeded'",
        (f"record-{name}-%",),
    )[0]
    return found
