"""SQL of schedules: made, listed, changed, deleted; those that are due; and what became of them."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import written
from gristmill.schedules.timing import Timing

_COLUMNS = """id, name, type, args, max_attempts, labels, priority, cron, every, zone, start, overlap, state, error,
    next_run_at, last_run_at, last_job, runs, skipped, created_by, owned_since, created_key, created_at"""
_INSERT = f"""
INSERT INTO gristmill.schedules (id, name, type, args, max_attempts, labels, priority, cron, every, zone, start,
    overlap, state, next_run_at, created_by, owned_since, created_key)
VALUES (%(id)s, %(name)s, %(type)s, %(args)s, %(max_attempts)s, %(labels)s, %(priority)s, %(cron)s, %(every)s,
    %(zone)s, %(start)s, %(overlap)s, %(state)s, %(next_run_at)s, %(created_by)s, clock_timestamp(), %(created_key)s)
ON CONFLICT (name) DO NOTHING RETURNING {_COLUMNS}
"""  # noqa: S608 - constants of this file
_FIND = f"SELECT {_COLUMNS} FROM gristmill.schedules WHERE name = %(name)s"  # noqa: S608 - constants of this file
_LOCK = _FIND + " FOR UPDATE"
_LIST = f"""
SELECT {_COLUMNS} FROM gristmill.schedules
WHERE name COLLATE "C" > %(after)s AND (%(type)s::text IS NULL OR type = %(type)s)
    AND (%(state)s::text IS NULL OR state = %(state)s)
ORDER BY name COLLATE "C" LIMIT %(limit)s
"""  # noqa: S608 - constants of this file
_CHANGE = f"""
UPDATE gristmill.schedules SET args = %(args)s, max_attempts = %(max_attempts)s, labels = %(labels)s,
    priority = %(priority)s, cron = %(cron)s, every = %(every)s, zone = %(zone)s, start = %(start)s,
    overlap = %(overlap)s, state = %(state)s,
    error = CASE WHEN %(state)s = 'paused' THEN error END, next_run_at = %(next_run_at)s,
    owned_since = CASE WHEN created_by = %(created_by)s THEN owned_since ELSE clock_timestamp() END,
    created_by = %(created_by)s
WHERE id = %(id)s RETURNING {_COLUMNS}
"""  # noqa: S608 - constants of this file
_DELETE = "DELETE FROM gristmill.schedules WHERE id = %(id)s"
# Whoever is being changed, or is in another dispatcher's hands, is left to them.
_DUE = f"""
SELECT {_COLUMNS}, clock_timestamp() AS now FROM gristmill.schedules
WHERE next_run_at <= clock_timestamp() ORDER BY next_run_at LIMIT %(most)s FOR UPDATE SKIP LOCKED
"""  # noqa: S608 - constants of this file
_NOTE = """
UPDATE gristmill.schedules s SET next_run_at = n.next_run_at,
    state = CASE WHEN n.next_run_at IS NULL THEN 'paused' ELSE s.state END, error = n.error,
    last_run_at = coalesce(n.run_at, s.last_run_at), last_job = coalesce(n.job, s.last_job),
    runs = s.runs + (n.job IS NOT NULL)::int, skipped = s.skipped + n.skipped::int
FROM jsonb_to_recordset(%(notes)s::jsonb)
    AS n (id uuid, next_run_at timestamptz, run_at timestamptz, job uuid, skipped boolean, error jsonb)
WHERE s.id = n.id
"""
_FIGURES = """
SELECT state, count(*), coalesce(max(extract(epoch FROM clock_timestamp() - next_run_at)), 0)::float
FROM gristmill.schedules GROUP BY state
"""


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule as it stands. created_by, owned_since: the principal that its jobs run as, and since when."""

    id: uuid.UUID
    name: str
    type: str
    args: dict[str, Any]
    max_attempts: int | None
    labels: dict[str, str]
    priority: int
    cron: str | None
    every: str | None
    zone: str
    start: datetime
    overlap: str
    state: str
    error: dict[str, Any] | None
    next_run_at: datetime | None
    last_run_at: datetime | None
    last_job: uuid.UUID | None
    runs: int
    skipped: int
    created_by: str
    owned_since: datetime
    created_key: str | None
    created_at: datetime

    @property
    def timing(self) -> Timing:
        return Timing(self.cron, self.every, self.zone, self.start)


@dataclass(frozen=True, slots=True)
class Note:
    """What became of a schedule that was due. run_at, job: of the job that was submitted.

    skipped: none was, as the one before had not ended. error: why none could be, as a problem object; without a next
    run it is paused.
    """

    id: uuid.UUID
    next_run_at: datetime | None
    run_at: datetime | None = None
    job: uuid.UUID | None = None
    skipped: bool = False
    error: dict[str, Any] | None = None


def insert(connection: Connection, values: Mapping[str, Any]) -> Schedule | None:
    """Insert a schedule and return it, or None if its name is taken. values: the columns that a request decides."""
    return _first(connection, _INSERT, written(values))


def find(connection: Connection, name: str, *, lock: bool = False) -> Schedule | None:
    """Return the schedule called ``name``. lock: nobody changes it, or submits its jobs, until the commit."""
    return _first(connection, _LOCK if lock else _FIND, {"name": name})


def list_schedules(
    connection: Connection, after: str, limit: int, type_: str | None = None, state: str | None = None
) -> list[Schedule]:
    """Return schedules in the order of their names, those after ``after``."""
    given = {"after": after, "limit": limit, "type": type_, "state": state}
    return [Schedule(**row._mapping) for row in connection.exec_driver_sql(_LIST, given)]


def change(connection: Connection, schedule: Schedule, values: Mapping[str, Any]) -> Schedule:
    """Give a schedule, whose row is locked, other values; what paused it is forgotten where it runs again."""
    changed = _first(connection, _CHANGE, {"id": str(schedule.id), **written(values)})
    assert changed is not None  # its row is locked
    return changed


def delete(connection: Connection, schedule_id: uuid.UUID) -> None:
    connection.exec_driver_sql(_DELETE, {"id": str(schedule_id)})


def take_due(connection: Connection, most: int) -> list[tuple[Schedule, datetime]]:
    """Lock schedules that are due, the longest due ones first; return each with the time by Postgres' clock."""
    found = []
    for row in connection.exec_driver_sql(_DUE, {"most": most}):
        values = dict(row._mapping)
        now = values.pop("now")
        found.append((Schedule(**values), now))
    return found


def note(connection: Connection, notes: Sequence[Note]) -> None:
    """Write down what became of schedules that ``take_due`` has locked."""
    rows = [
        {
            "id": str(one.id),
            "next_run_at": None if one.next_run_at is None else one.next_run_at.isoformat(),
            "run_at": None if one.run_at is None else one.run_at.isoformat(),
            "job": None if one.job is None else str(one.job),
            "skipped": one.skipped,
            "error": one.error,
        }
        for one in notes
    ]
    connection.exec_driver_sql(_NOTE, {"notes": json.dumps(rows)})


def figures(connection: Connection) -> dict[str, tuple[int, float]]:
    """Return for each state the number of schedules, and for how many seconds the longest has been due."""
    return {row[0]: (row[1], row[2]) for row in connection.exec_driver_sql(_FIGURES)}


def _first(connection: Connection, statement: str, values: Mapping[str, Any]) -> Schedule | None:
    row = connection.exec_driver_sql(statement, dict(values)).first()
    return None if row is None else Schedule(**row._mapping)
