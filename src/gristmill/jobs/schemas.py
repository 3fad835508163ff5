"""The job body: what clients see of a job, and the answer to every write."""

import math
from datetime import UTC, datetime
from typing import Any

from gristmill.jobs.states import FINISHED_JOB_STATES
from gristmill.kit.timestamps import rfc3339

BASE = "/api/v1/jobs"
# Seconds after which it is worth to look at a job again: most have ended by then. One that is scheduled has not begun
# before its time, but may be cancelled.
_LOOK_AGAIN = "1"
_LOOK_AGAIN_AT_LAST = 3600


def job_body(row: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON object for a row of the jobs table (with ``attempt``, ``under_way`` and ``retried_by``)."""
    # What was done, also where the rest failed or was cancelled: only a job that succeeded is at 1.
    progress = min(1.0, (row["chunks_done"] + row["under_way"]) / row["chunks_total"])
    url = f"{BASE}/{row['id']}"
    links = {"self": url, "cancel": f"{url}/cancel", "retry": f"{url}/retry"}
    if row["records_rejected"]:
        links["rejects"] = f"{url}/rejects"
    return {
        "id": str(row["id"]),
        "type": row["type"],
        "dataset": row["dataset"],
        "state": row["state"],
        "done": row["state"] in FINISHED_JOB_STATES,
        "progress": round(progress, 4),
        "record_counts": {
            "total": row["records_total"],
            "succeeded": row["records_succeeded"],
            "rejected": row["records_rejected"],
            "superseded": row["records_superseded"],
            "dropped": row["records_dropped"],
        },
        "chunks": {
            "total": row["chunks_total"],
            "done": row["chunks_done"],
            "failed": row["chunks_failed"],
            "cancelled": row["chunks_cancelled"],
        },
        "attempt": row["attempt"],
        "max_attempts": row["max_attempts"],
        "priority": row["priority"],
        "queue": row["queue"],
        "labels": row["labels"],
        "submitted_by": row["submitted_by"],
        "request_id": row["request_id"],
        "retry_of": None if row["retry_of"] is None else str(row["retry_of"]),
        "retried_by": [str(job_id) for job_id in row["retried_by"] or ()],
        "error": row["error"],
        "result": row["result"],
        "created_at": rfc3339(row["created_at"]),
        "run_at": rfc3339(row["run_at"]),
        "started_at": rfc3339(row["started_at"]),
        "finished_at": rfc3339(row["finished_at"]),
        "links": links,
    }


def look_again(body: dict[str, Any]) -> str:
    """Return the Retry-After of a job that has not finished."""
    if body["state"] != "scheduled":
        return _LOOK_AGAIN
    left = (datetime.fromisoformat(body["run_at"]) - datetime.now(UTC)).total_seconds()
    return str(min(max(math.ceil(left), 1), _LOOK_AGAIN_AT_LAST))
