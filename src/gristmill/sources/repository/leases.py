"""SQL of runners: leases, positions, and what a runner says of its sources. Each statement names the lease's epoch."""

import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute
from gristmill.sources.figures import Figures

_COLUMNS = (
    "s.id, s.name, s.kind, s.settings, s.dataset_id, s.labels, s.priority, s.position, s.epoch, s.batches, s.failures"
)
# The subquery stands in WITH: as ``IN (SELECT … LIMIT …)`` it may be run once for each row, and then takes more rows.
_LEASE = f"""
WITH free AS MATERIALIZED (
    SELECT id FROM gristmill.sources
    WHERE state = 'running' AND (lease_until IS NULL OR lease_until <= clock_timestamp()) AND kind = ANY(%(kinds)s)
    ORDER BY lease_until NULLS FIRST, id LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
UPDATE gristmill.sources AS s SET owner = %(owner)s, epoch = epoch + 1, waits_for = NULL,
    lease_until = clock_timestamp() + %(lease)s * interval '1 second'
FROM free WHERE s.id = free.id
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants of this file
_LOAD = f"SELECT {_COLUMNS} FROM gristmill.sources AS s WHERE s.id = %(id)s AND s.epoch = %(epoch)s"  # noqa: S608 - as above
# Rows that somebody has locked are passed over: one of them must not keep the leases of all others from being renewed.
_BEAT = """
WITH given AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(epochs)s::int[], %(rates)s::float[], %(lags)s::bigint[], %(ages)s::float[],
        %(waits)s::text[]) AS g (id, epoch, rate, lag, age, waits_for)
), free AS (
    SELECT s.id FROM gristmill.sources AS s JOIN given AS g ON g.id = s.id AND g.epoch = s.epoch
    WHERE s.owner IS NOT NULL ORDER BY s.id FOR UPDATE OF s SKIP LOCKED
)
UPDATE gristmill.sources AS s SET lease_until = clock_timestamp() + %(lease)s * interval '1 second', rate = g.rate,
    lag_records = g.lag, lag_since = clock_timestamp() - g.age * interval '1 second', reported_at = clock_timestamp(),
    waits_for = g.waits_for
FROM given AS g JOIN free USING (id) WHERE s.id = g.id
"""
_HELD = """
SELECT s.id FROM gristmill.sources AS s JOIN unnest(%(ids)s::uuid[], %(epochs)s::int[]) AS g (id, epoch)
    ON g.id = s.id AND g.epoch = s.epoch
"""
# ``batches`` has to be what the runner counted: a commit whose answer was lost may have taken place.
_ADVANCE = Prepared(
    """
UPDATE gristmill.sources SET position = %(position)s, batches = batches + %(new)s, records = records + %(records)s,
    rejected = rejected + %(rejected)s, last_batch_at = clock_timestamp(), last_job = %(job)s, failures = 0,
    waits_for = NULL, lease_until = clock_timestamp() + %(lease)s * interval '1 second', rate = %(rate)s,
    lag_records = %(lag)s, lag_since = clock_timestamp() - %(age)s * interval '1 second',
    reported_at = clock_timestamp()
WHERE id = %(id)s AND epoch = %(epoch)s AND batches = %(before)s AND state = 'running' AND owner IS NOT NULL
RETURNING batches
""",
    position="jsonb",
    new="bigint",
    records="bigint",
    rejected="bigint",
    job="uuid",
    lease="float",
    rate="float",
    lag="bigint",
    age="float",
    id="uuid",
    epoch="int",
    before="bigint",
)
_RELEASE = """
UPDATE gristmill.sources SET owner = NULL, lease_until = NULL, rate = 0, waits_for = NULL
WHERE id = %(id)s AND epoch = %(epoch)s
"""
_END = """
UPDATE gristmill.sources SET state = %(state)s, owner = NULL, lease_until = NULL, rate = 0, waits_for = NULL,
    last_error = coalesce(%(error)s::jsonb, last_error),
    last_error_at = CASE WHEN %(error)s::jsonb IS NULL THEN last_error_at ELSE clock_timestamp() END
WHERE id = %(id)s AND epoch = %(epoch)s
"""
_NOTE = """
UPDATE gristmill.sources SET last_error = %(error)s, last_error_at = clock_timestamp(), failures = failures + 1,
    waits_for = %(waits_for)s
WHERE id = %(id)s AND epoch = %(epoch)s
"""


@dataclass(frozen=True, slots=True)
class Leased:
    """A source under a lease. batches: how many it has submitted; together with the epoch it names one position."""

    id: uuid.UUID
    name: str
    kind: str
    settings: dict[str, Any]
    dataset_id: uuid.UUID
    labels: dict[str, str]
    priority: int
    position: dict[str, Any] | None
    epoch: int
    batches: int
    failures: int


@dataclass(frozen=True, slots=True)
class Advance:
    """What batches add to their source. position: where it goes on after them. job: the last one's."""

    position: Mapping[str, Any]
    batches: int
    records: int
    rejected: int
    job: uuid.UUID


def lease(connection: Connection, owner: str, kinds: Sequence[str], seconds: float, limit: int) -> list[Leased]:
    """Take up to ``limit`` sources that run and nobody has, of kinds that this runner knows."""
    given = {"owner": owner, "kinds": list(kinds), "lease": seconds, "limit": limit}
    return [Leased(**row._mapping) for row in connection.exec_driver_sql(_LEASE, given)]


def load(connection: Connection, source_id: uuid.UUID, epoch: int) -> Leased | None:
    """Return the source as it stands, or None if the lease of this epoch is over."""
    row = connection.exec_driver_sql(_LOAD, {"id": str(source_id), "epoch": epoch}).first()
    return None if row is None else Leased(**row._mapping)


def beat(connection: Connection, held: Mapping[tuple[uuid.UUID, int], Figures], seconds: float) -> set[uuid.UUID]:
    """Renew leases, with what their runner knows of each; return the ids of those that it still has."""
    ids, epochs = [str(one) for one, _ in held], [epoch for _, epoch in held]
    figures = list(held.values())
    given = {
        "ids": ids,
        "epochs": epochs,
        "lease": seconds,
        "rates": [one.rate for one in figures],
        "lags": [one.lag_records for one in figures],
        "ages": [one.lag_seconds for one in figures],
        "waits": [one.waits_for for one in figures],
    }
    connection.exec_driver_sql(_BEAT, given)
    return {row.id for row in connection.exec_driver_sql(_HELD, {"ids": ids, "epochs": epochs})}


def advance(connection: Connection, source: Leased, step: Advance, figures: Figures, seconds: float) -> int | None:
    """Move the position in the transaction that submits the jobs; return the new number of batches.

    None if the lease is over or the position is another one: the transaction must be rolled back.
    """
    given = {
        "position": json.dumps(step.position),
        "new": step.batches,
        "records": step.records,
        "rejected": step.rejected,
        "job": str(step.job),
        "lease": seconds,
        "rate": figures.rate,
        "lag": figures.lag_records,
        "age": figures.lag_seconds,
        "id": str(source.id),
        "epoch": source.epoch,
        "before": source.batches,
    }
    found: int | None = execute(connection, given, _ADVANCE).scalar()
    return found


def release(connection: Connection, source_id: uuid.UUID, epoch: int) -> None:
    """Give a lease back; the source goes on running under whoever takes it next."""
    connection.exec_driver_sql(_RELEASE, {"id": str(source_id), "epoch": epoch})


def end(
    connection: Connection, source_id: uuid.UUID, epoch: int, state: str, error: Mapping[str, Any] | None = None
) -> None:
    """Let a source be finished or failed. error: why, as a problem object."""
    text = None if error is None else json.dumps(error)
    connection.exec_driver_sql(_END, {"id": str(source_id), "epoch": epoch, "state": state, "error": text})


def note_error(
    connection: Connection, source_id: uuid.UUID, epoch: int, error: Mapping[str, Any], waits_for: str
) -> None:
    """Say what went wrong, and what happens next."""
    given = {"id": str(source_id), "epoch": epoch, "error": json.dumps(error), "waits_for": waits_for}
    connection.exec_driver_sql(_NOTE, given)
