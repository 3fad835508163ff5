"""Uploads of files in constant memory: one POST over a connection of its own, from the first byte to ``succeeded``."""

import http.client
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import usage
from benchmarks.harness import Bench

TYPES = {
    ".parquet": "application/vnd.apache.parquet",
    ".arrow": "application/vnd.apache.arrow.stream",
    ".ndjson": "application/x-ndjson",
    ".csv": "text/csv",
}
_PIECE = 1 << 20


@dataclass(frozen=True)
class Load:
    """One load. accepted: seconds until the 202; seconds: until the job had succeeded, as the client saw it."""

    rows: int
    bytes: int
    accepted: float
    seconds: float
    cpu_us_per_row: dict[str, float]
    others_cores: float

    @property
    def rate(self) -> float:
        return self.rows / self.seconds

    def values(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "mib": round(self.bytes / 2**20, 2),
            "accepted_seconds": round(self.accepted, 3),
            "seconds": round(self.seconds, 3),
            "rows_per_second": round(self.rate, 1),
            "cpu_us_per_row": self.cpu_us_per_row,
            "others_cores": self.others_cores,
        }


def post(bench: Bench, dataset: str, path: Path) -> str:
    """Send the file and return the id of its job. Raises RuntimeError for any answer but 202."""
    connection = http.client.HTTPConnection("127.0.0.1", bench.settings.api_port, timeout=900, blocksize=_PIECE)
    try:
        with path.open("rb") as file:
            headers = {"Content-Type": TYPES[path.suffix], "Content-Length": str(path.stat().st_size)}
            connection.request("POST", f"/api/v1/datasets/{dataset}/records", file, headers)
            answer = connection.getresponse()
            body = answer.read()
    finally:
        connection.close()
    if answer.status != 202:
        raise RuntimeError(f"{path.name}: {answer.status} {body[:600].decode(errors='replace')}")
    return str(json.loads(body)["id"])


def upload(bench: Bench, dataset: str, path: Path, rows: int) -> Load:
    """Send the file and wait for its job; raises RuntimeError if not all its ``rows`` were written."""
    pids = bench.pids()
    used, busy = usage.cpu_seconds(pids), usage.machine_busy()
    began, own = time.perf_counter(), time.process_time()
    job_id = post(bench, dataset, path)
    accepted = time.perf_counter() - began
    job = bench.client.wait(job_id)
    seconds = time.perf_counter() - began
    after, busy_after = usage.cpu_seconds(pids), usage.machine_busy()
    client = time.process_time() - own
    if job["record_counts"]["succeeded"] != rows:
        raise RuntimeError(f"{rows} rows were sent; {job['record_counts']}")
    ours = sum(after[kind] - used[kind] for kind in used) + client
    others = (busy_after[0] - busy[0] - ours) / (busy_after[1] - busy[1])
    each = {kind: round(1e6 * (after[kind] - used[kind]) / rows, 2) for kind in used}
    each["client"] = round(1e6 * client / rows, 2)
    return Load(rows, path.stat().st_size, accepted, seconds, each, round(max(0.0, others), 2))


def middle(loads: list[Load]) -> Load:
    """Return the load with the median rate."""
    return sorted(loads, key=lambda load: load.rate)[len(loads) // 2]
