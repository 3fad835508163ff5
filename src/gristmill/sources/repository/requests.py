"""SQL of what users ask of sources: made, listed, changed, deleted; and what metrics read."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import written

CHANGED = "gristmill_sources"

# A source that runs is behind by the age of the oldest record that is in no job: as its runner said last, and growing
# since then where something was waiting, or where no runner has the source any more.
_COLUMNS = """id, name, kind, settings, dataset_id, labels, priority, state, position, epoch, owner,
    coalesce(lease_until > clock_timestamp(), false) AS leased, created_by, created_key, created_at,
    batches, records, rejected, last_batch_at, last_job, failures, last_error, last_error_at, waits_for,
    CASE WHEN lease_until > clock_timestamp() THEN rate ELSE 0 END AS rate, lag_records,
    CASE WHEN state <> 'running' OR reported_at IS NULL THEN NULL
        WHEN lag_records > 0 OR lease_until IS NULL OR lease_until < clock_timestamp()
            THEN extract(epoch FROM clock_timestamp() - lag_since)::float
        ELSE 0 END AS lag_seconds"""
_INSERT = f"""
INSERT INTO gristmill.sources (id, name, kind, settings, dataset_id, labels, priority, state, created_by,
    created_key)
VALUES (%(id)s, %(name)s, %(kind)s, %(settings)s, %(dataset_id)s, %(labels)s, %(priority)s, %(state)s, %(created_by)s,
    %(created_key)s)
ON CONFLICT (name) DO NOTHING RETURNING {_COLUMNS}
"""  # noqa: S608 - constants of this file
_FIND = f"SELECT {_COLUMNS} FROM gristmill.sources WHERE name = %(name)s"  # noqa: S608 - constants of this file
_LOCK = _FIND + " FOR UPDATE"
_LIST = f"""
SELECT {_COLUMNS} FROM gristmill.sources
WHERE name COLLATE "C" > %(after)s AND (%(dataset_id)s::uuid IS NULL OR dataset_id = %(dataset_id)s::uuid)
    AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY name COLLATE "C" LIMIT %(limit)s
"""  # noqa: S608 - constants of this file
# A new epoch takes the source from its runner at once: what that has in hand is refused.
_CHANGE = f"""
UPDATE gristmill.sources SET state = %(state)s, settings = %(settings)s, labels = %(labels)s, priority = %(priority)s,
    epoch = epoch + 1, owner = NULL, lease_until = NULL, waits_for = NULL, failures = 0, rate = 0, lag_records = 0,
    lag_since = NULL, reported_at = NULL
WHERE id = %(id)s RETURNING {_COLUMNS}
"""  # noqa: S608 - constants of this file
_DELETE = "DELETE FROM gristmill.sources WHERE name = %(name)s RETURNING id"
_FAIL = """
UPDATE gristmill.sources SET state = 'failed', epoch = epoch + 1, owner = NULL, lease_until = NULL, waits_for = NULL,
    last_error = %(error)s, last_error_at = clock_timestamp()
WHERE dataset_id = %(dataset_id)s AND state IN ('running', 'paused')
"""
_NOTIFY = f"SELECT pg_notify('{CHANGED}', '')"


@dataclass(frozen=True, slots=True)
class Source:
    """A source as it stands. leased: a runner has it now. lag_seconds: None unless it runs and was read before."""

    id: uuid.UUID
    name: str
    kind: str
    settings: dict[str, Any]
    dataset_id: uuid.UUID
    labels: dict[str, str]
    priority: int
    state: str
    position: dict[str, Any] | None
    epoch: int
    owner: str | None
    leased: bool
    created_by: str
    created_key: str | None
    created_at: datetime
    batches: int
    records: int
    rejected: int
    last_batch_at: datetime | None
    last_job: uuid.UUID | None
    failures: int
    last_error: dict[str, Any] | None
    last_error_at: datetime | None
    waits_for: str | None
    rate: float
    lag_records: int
    lag_seconds: float | None


def insert(connection: Connection, values: Mapping[str, Any]) -> Source | None:
    """Insert a source and return it, or None if its name is taken. values: the columns that a user chooses."""
    return _first(connection, _INSERT, written(values))


def find(connection: Connection, name: str, *, lock: bool = False) -> Source | None:
    """Return the source called ``name``. lock: keep others, its runner included, from changing it."""
    return _first(connection, _LOCK if lock else _FIND, {"name": name})


def list_sources(
    connection: Connection, after: str, limit: int, dataset_id: uuid.UUID | None = None, state: str | None = None
) -> list[Source]:
    """Return sources in the order of their names, those after ``after``."""
    chosen = None if dataset_id is None else str(dataset_id)
    given = {"after": after, "limit": limit, "dataset_id": chosen, "state": state}
    return [_source(row) for row in connection.exec_driver_sql(_LIST, given)]


def change(connection: Connection, source: Source, values: Mapping[str, Any]) -> Source:
    """Change state, settings, labels and priority, and take the source from its runner."""
    changed = _first(connection, _CHANGE, {"id": str(source.id), **written(values)})
    assert changed is not None  # its row is locked
    return changed


def delete(connection: Connection, name: str) -> bool:
    """Delete a source; say whether there was one."""
    return connection.exec_driver_sql(_DELETE, {"name": name}).first() is not None


def fail_sources_of(connection: Connection, dataset_id: uuid.UUID, error: Mapping[str, Any]) -> bool:
    """Let the sources of a dataset fail; say whether there were any. error: a problem object."""
    found = connection.exec_driver_sql(_FAIL, {"dataset_id": str(dataset_id), "error": json.dumps(error)})
    return found.rowcount > 0


def notify(connection: Connection) -> None:
    """Wake the runners when this transaction commits. Rare enough for a NOTIFY within it."""
    connection.exec_driver_sql(_NOTIFY)


def _first(connection: Connection, statement: str, values: Mapping[str, Any]) -> Source | None:
    row = connection.exec_driver_sql(statement, dict(values)).first()
    return None if row is None else _source(row)


def _source(row: Any) -> Source:
    return Source(**row._mapping)


def all_sources(connection: Connection, most: int = 10_000) -> Sequence[Source]:
    """Return all sources, for metrics."""
    return list_sources(connection, "", most)
