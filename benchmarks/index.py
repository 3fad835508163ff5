"""The vector index of a dataset as its users steer it: held back, rebuilt, looked at."""

import time
from collections.abc import Callable
from typing import Any

import httpx

from benchmarks.harness import Bench


def hold(bench: Bench, dataset: str, held: bool) -> None:
    """Hold index builds of the dataset back, or let them go on."""
    _call(bench, "PATCH", f"/datasets/{dataset}/index", {"hold": held})


def rebuild(bench: Bench, dataset: str) -> dict[str, Any]:
    """Build the whole index anew, wait for it, and return its job."""
    job = _call(bench, "POST", f"/datasets/{dataset}/index/rebuild")
    return bench.client.wait(str(job["id"]))


def state(bench: Bench, dataset: str) -> dict[str, Any]:
    """Return segments, sealed_rows, tail_rows, building and what else the server says about the index."""
    found: dict[str, Any] = bench.client.dataset(dataset)["index"]
    return found


def report(bench: Bench, dataset: str) -> dict[str, Any]:
    """Return the plan report: each segment, the settings of builds, what is due next and why."""
    return _call(bench, "GET", f"/datasets/{dataset}/index")


def learns(bench: Bench, dataset: str) -> bool:
    """Say whether this version learns what recall a search of its segments has at which effort."""
    return any("curve" in segment for segment in report(bench, dataset)["segments"])


def is_learnt(bench: Bench, dataset: str) -> bool:
    """Say whether every segment that searches use has its curve."""
    return all(segment["curve"] for segment in report(bench, dataset)["segments"] if segment["state"] == "ready")


def wait_learnt(bench: Bench, dataset: str, seconds: float) -> None:
    """Wait until every segment has its curve. Raises RuntimeError if that is not so within ``seconds``."""
    _wait(bench, dataset, lambda: is_learnt(bench, dataset), f"no curve was learnt within {seconds:g} s", seconds)


def tune(bench: Bench, dataset: str) -> dict[str, Any]:
    """Let the curves be learnt, wait for it, and return its job."""
    job = _call(bench, "POST", f"/datasets/{dataset}/index/tune")
    return bench.client.wait(str(job["id"]))


def wait_building(bench: Bench, dataset: str, below: int, seconds: float) -> None:
    """Wait until a build has begun, or has ended with a tail shorter than ``below``.

    Raises RuntimeError if neither is so within ``seconds``.
    """

    def begun() -> bool:
        found = state(bench, dataset)
        return bool(found["building"]) or found["tail_rows"] < below

    _wait(bench, dataset, begun, f"no build began within {seconds:g} s", seconds)


def wait_sealed(
    bench: Bench, dataset: str, below: int, seconds: float, idle: bool = True
) -> tuple[dict[str, Any], float | None]:
    """Wait until the tail is shorter than ``below`` and, if ``idle``, nothing is being built.

    Returns the state of the index, and the seconds that it took; None if it was not so within ``seconds``.
    """
    began = time.monotonic()
    while True:
        found = state(bench, dataset)
        passed = time.monotonic() - began
        if found["tail_rows"] < below and not (idle and found["building"]):
            return found, passed
        if passed > seconds:
            return found, None
        time.sleep(0.5)


def _wait(bench: Bench, dataset: str, done: Callable[[], bool], otherwise: str, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{otherwise}: {report(bench, dataset)}")
        time.sleep(0.05)


def _call(bench: Bench, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    answer = httpx.request(method, f"{bench.url('api')}/api/v1{path}", json=body, timeout=60)
    if not answer.is_success:
        raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
    found: dict[str, Any] = answer.json() if answer.content else {}
    return found
