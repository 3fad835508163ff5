"""SQL of what was measured of a dataset's recall, and of what the dataset was like then."""

import uuid
from typing import Any

from sqlalchemy import Connection

from gristmill.datasets import repository as datasets

# How many of the nearest records a measurement compares.
K = 10
# What could not be measured in time leaves the last measurement as it is.
_STORE = """
INSERT INTO gristmill.recall (dataset_id, k, value, target, samples, segments, highest, changes, took_ms)
VALUES (%(dataset_id)s, %(k)s, %(value)s, %(target)s, %(samples)s, %(segments)s, %(highest)s, %(changes)s,
    %(took_ms)s)
ON CONFLICT (dataset_id) DO UPDATE SET k = EXCLUDED.k, target = EXCLUDED.target,
    value = CASE WHEN EXCLUDED.samples > 0 THEN EXCLUDED.value ELSE recall.value END,
    samples = CASE WHEN EXCLUDED.samples > 0 THEN EXCLUDED.samples ELSE recall.samples END,
    segments = EXCLUDED.segments, highest = EXCLUDED.highest, changes = EXCLUDED.changes,
    took_ms = EXCLUDED.took_ms, measured_at = now()
"""
_ONE = "SELECT value, k, target, samples, measured_at FROM gristmill.recall WHERE dataset_id = %(dataset_id)s"
_ALL = """
SELECT r.dataset_id, r.k, r.value, r.target FROM gristmill.recall r
WHERE r.samples > 0 AND EXISTS (
    SELECT FROM gristmill.segments s WHERE s.dataset_id = r.dataset_id AND s.state = 'ready')
"""
_MEASURED = """
SELECT dataset_id, segments, highest, changes, took_ms, extract(epoch FROM now() - measured_at)::float AS age
FROM gristmill.recall
"""


def store(connection: Connection, dataset_id: uuid.UUID, values: dict[str, Any]) -> None:
    """Keep a measurement. values: value, k, target, samples, took_ms; segments, highest, changes: as they were."""
    connection.exec_driver_sql(_STORE, {**values, "dataset_id": str(dataset_id)})


def find(connection: Connection, dataset_id: uuid.UUID) -> Any:
    """Return (value, k, target, samples, measured_at) of the last measurement, or None."""
    return connection.exec_driver_sql(_ONE, {"dataset_id": str(dataset_id)}).first()


def list_measured(connection: Connection) -> list[tuple[str, int, float, float]]:
    """Return (dataset, k, recall, target) of every ready dataset with segments that was measured, by name."""
    found = {row[0]: tuple(row[1:]) for row in connection.exec_driver_sql(_ALL)}
    names = datasets.list_ready_with(connection, "embedding") if found else []
    return sorted((name, *found[id_]) for id_, name in names if id_ in found)


def last_measured(connection: Connection) -> dict[uuid.UUID, Any]:
    """Return by dataset what there was when it was measured last: segments, highest, changes, took_ms; age (s)."""
    return {uuid.UUID(str(row.dataset_id)): row for row in connection.exec_driver_sql(_MEASURED)}
