"""SQL of what was learnt of graphs, and of the vectors that were searched by."""

import json
import uuid
from typing import Any

from sqlalchemy import Connection

# A segment that was replaced meanwhile has nothing to be kept for.
_STORE = """
INSERT INTO gristmill.segment_curves (segment_id, curve, took_ms)
SELECT id, %(curve)s, %(took_ms)s FROM gristmill.segments WHERE id = %(segment_id)s AND state = 'ready'
ON CONFLICT (segment_id) DO """
_IN_PLACE = "UPDATE SET curve = EXCLUDED.curve, took_ms = EXCLUDED.took_ms, learnt_at = now()"
_OF_DATASET = """
SELECT segment_id, curve, took_ms, learnt_at FROM gristmill.segment_curves
WHERE segment_id IN (SELECT id FROM gristmill.segments WHERE dataset_id = %(dataset_id)s)
"""
# A second is the least that learning is reckoned with: the pause after it is in proportion.
_DUE = """
SELECT s.dataset_id, count(*) FILTER (WHERE c.segment_id IS NULL),
    coalesce(max(extract(epoch FROM c.learnt_at - now()) + %(pauses)s * greatest(c.took_ms / 1000, 1)), 0)::float
FROM gristmill.segments s LEFT JOIN gristmill.segment_curves c ON c.segment_id = s.id
WHERE s.state = 'ready' GROUP BY s.dataset_id
"""
_KEEP = """
INSERT INTO gristmill.kept_queries (dataset_id, slot, vector) VALUES (%(dataset_id)s, %(slot)s, %(vector)s)
ON CONFLICT (dataset_id, slot) DO UPDATE SET vector = EXCLUDED.vector, kept_at = now()
"""
_KEPT = "SELECT vector FROM gristmill.kept_queries WHERE dataset_id = %(dataset_id)s ORDER BY slot"


def store_curve(
    connection: Connection, segment_id: int, curve: dict[str, Any], took_ms: float, *, replace: bool = True
) -> None:
    """Keep what was learnt of a segment, in place of what was known; not ``replace``: only if nothing was known."""
    values = {"segment_id": segment_id, "curve": json.dumps(curve), "took_ms": took_ms}
    connection.exec_driver_sql(_STORE + (_IN_PLACE if replace else "NOTHING"), values)


def curves_of(connection: Connection, dataset_id: uuid.UUID) -> dict[int, Any]:
    """Return (segment_id, curve, took_ms, learnt_at) by segment."""
    rows = connection.exec_driver_sql(_OF_DATASET, {"dataset_id": str(dataset_id)})
    return {row.segment_id: row for row in rows}


def unlearnt(connection: Connection, pauses: float) -> dict[uuid.UUID, tuple[int, float]]:
    """Return by dataset how many ready segments have no curve, and how many seconds more learning shall pause.

    pauses: how many times as long as learning took it pauses afterwards.
    """
    rows = connection.exec_driver_sql(_DUE, {"pauses": pauses})
    return {uuid.UUID(str(row[0])): (row[1], row[2]) for row in rows}


def keep_query(connection: Connection, dataset_id: uuid.UUID, slot: int, vector: str) -> None:
    """Keep a vector that was searched by. It may be lost with the server: nothing waits for the disk, or for a lock."""
    values = {"dataset_id": str(dataset_id), "slot": slot, "vector": vector}
    settings = "SET LOCAL synchronous_commit = off; SET LOCAL lock_timeout = '20ms';"
    connection.exec_driver_sql(settings + _KEEP, values)


def kept_queries(connection: Connection, dataset_id: uuid.UUID) -> list[str]:
    return [row[0] for row in connection.exec_driver_sql(_KEPT, {"dataset_id": str(dataset_id)})]


def datasets_with_queries(connection: Connection) -> list[uuid.UUID]:
    """Return the datasets of which vectors are kept."""
    rows = connection.exec_driver_sql("SELECT DISTINCT dataset_id FROM gristmill.kept_queries")
    return [uuid.UUID(str(row[0])) for row in rows]


def forget_queries(connection: Connection, dataset_id: uuid.UUID) -> None:
    """Delete the vectors that were kept: the contract keeps none any more, or the dataset was emptied."""
    connection.exec_driver_sql(
        "DELETE FROM gristmill.kept_queries WHERE dataset_id = %(dataset_id)s", {"dataset_id": str(dataset_id)}
    )
