"""What users see of an index: a summary in the dataset's body, and the plan report."""

from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from gristmill.datasets.reader import Dataset
from gristmill.search import repository
from gristmill.search.progress import read_progress
from gristmill.search.repository import Segment


def index_state(connection: Connection, dataset: Dataset) -> dict[str, Any]:
    """Return how much of the dataset has indexes: segments, sealed_rows, tail_rows, hold, building, recall."""
    segments = repository.all_segments(connection, dataset.id)
    ready = [segment for segment in segments if segment.state == "ready"]
    return {
        "segments": len(ready),
        "sealed_rows": sum(segment.rows for segment in ready),
        "tail_rows": _tail(connection, dataset.name, ready),
        "hold": repository.is_held(connection, dataset.id),
        "building": building(connection, dataset.name, segments),
    }


def building(connection: Connection, table: str, segments: list[Segment]) -> dict[str, Any] | None:
    """Return the build that goes on: job, phase, fraction of its index, rows; None if there is none."""
    for segment in segments:
        if segment.state == "building":
            rows = repository.count_records(connection, table, segment.lo, segment.hi)
            found = read_progress(connection, segment.index_name, rows)
            return {
                "job": None if segment.job_id is None else str(segment.job_id),
                # No index of that name is being built now: its builder is at the start or end, or was lost.
                "phase": "waiting" if found is None else found.phase,
                "fraction": 0.0 if found is None else round(found.fraction, 4),
                "rows": rows,
            }
    return None


def _tail(connection: Connection, table: str, ready: list[Segment]) -> int:
    try:
        return repository.count_records(connection, table, ready[-1].hi if ready else 1)
    except ProgrammingError as error:
        # 42P01, undefined_table: the dataset is still being created.
        if getattr(error.orig, "pgcode", None) != "42P01":
            raise
        return 0
