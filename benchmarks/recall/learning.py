"""What it costs to learn the curve of each segment: seconds, CPU time, and what searches notice of it meanwhile."""

import threading
import time

from benchmarks import index
from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench
from benchmarks.recall.served import bodies
from benchmarks.recall.table import NAME, Asked
from benchmarks.usage import cpu_seconds

TARGET_SLOWER = 1.10
# How long that may take once the index is built.
MOST_SECONDS = 900
_KINDS = ("postgres", "worker", "worker-long")
_TURNS = 3


def learn(bench: Bench, rows: int, built: float) -> Row:
    """Wait until the curves are learnt, which begins by itself once an index is built, and return what that took.

    built: the seconds that building the index took, to compare with.
    """
    what = f"  learning the curves of {rows:,} rows"
    if not index.learns(bench, NAME):
        return Row(what, "not measured: this version learns no curves", values={"rows": rows})
    before, began = cpu_seconds(bench.pids()), time.perf_counter()
    index.wait_learnt(bench, NAME, MOST_SECONDS)
    bench.wait_idle()
    seconds, after = time.perf_counter() - began, cpu_seconds(bench.pids())
    used = {kind: round(after[kind] - before[kind], 2) for kind in _KINDS if kind in before}
    share = sum(used.values()) / seconds
    report = index.report(bench, NAME)
    return Row(
        what,
        f"{show(seconds)} s after the build, {show(share)} of a core (Postgres {show(used['postgres'])} s of CPU), "
        f"{show(100 * seconds / built)} % of the build's time",
        values={"rows": rows, "seconds": round(seconds, 2), "cpu_seconds": used, "share": round(share, 3),
                "recall": report["recall"], "curves": [segment["curve"] for segment in report["segments"]]},
    )  # fmt: skip


def prepare(bench: Bench) -> None:
    """Let the curves be learnt, where this version does so."""
    if index.learns(bench, NAME):
        index.tune(bench, NAME)


def searches_meanwhile(bench: Bench, asked: Asked) -> Row:
    """Return how much slower a closed loop of one client is while the curves are learnt, again and again."""
    what = f"  searches while the curves are learnt: {asked.size}, one client"
    target = f"p50 and p99 ≤ {TARGET_SLOWER:.2f} × those without"
    if not index.learns(bench, NAME):
        return Row(what, "not measured: this version learns no curves", target, None, {"rows": asked.rows})
    seconds = bench.size(10, 2)
    times: dict[bool, list[float]] = {False: [], True: []}
    learnt = 0
    for turn in range(_TURNS):
        # There and back, so that whatever the machine does befalls both.
        for learning in (True, False) if turn % 2 else (False, True):
            bench.wait_idle()
            found, jobs = _loop(bench, asked, seconds, learning)
            times[learning] += found
            learnt += jobs
    without, during = Times.of(times[False]), Times.of(times[True])
    p50, p99 = during.p50 / without.p50, during.p99 / without.p99
    return Row(
        what,
        f"p50 {show(during.p50)} ms, {show(p50)} × ({show(without.p50)}), p99 {show(during.p99)} ms, {show(p99)} × "
        f"({show(without.p99)}); {_TURNS} turns of {seconds} s each, learnt {learnt} times",
        target,
        p50 <= TARGET_SLOWER and p99 <= TARGET_SLOWER,
        {"rows": asked.rows, "without": without.values(), "during": during.values(), "p50_ratio": round(p50, 4),
         "p99_ratio": round(p99, 4), "learnt": learnt},
    )  # fmt: skip


def _loop(bench: Bench, asked: Asked, seconds: float, learning: bool) -> tuple[list[float], int]:
    """Return the times of the searches, and how often the curves were learnt; the last time may have ended later."""
    ended, jobs, failed = threading.Event(), [], []

    def learn_on() -> None:
        try:
            while not ended.is_set():
                jobs.append(index.tune(bench, NAME))
        except Exception as error:  # noqa: BLE001 - it is raised again where it is seen
            failed.append(error)

    thread = threading.Thread(target=learn_on)
    if learning:
        thread.start()
    try:
        answers = bench.post(f"/datasets/{NAME}/search", bodies(asked.vectors), seconds=seconds)
    finally:
        ended.set()
        if learning:
            thread.join()
    if failed:
        raise RuntimeError(f"the curves were not learnt: {failed[0]}")
    return answers.times, len(jobs)
