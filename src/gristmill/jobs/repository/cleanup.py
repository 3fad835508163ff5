"""SQL of retention and of the rows by which processes show that they are alive."""

from sqlalchemy import Connection

_PRUNE_KEYS = """
DELETE FROM gristmill.idempotency_keys WHERE (principal, key) IN (
    SELECT principal, key FROM gristmill.idempotency_keys
    WHERE created_at < now() - %(hours)s * interval '1 hour' LIMIT 5000)
"""
# An exclusive job is kept while an earlier failed job of its scope might still be retried: the retry must see it.
_PRUNE_JOBS = """
WITH old AS (
    SELECT id FROM gristmill.jobs j WHERE finished_at < now() - %(days)s * interval '1 day'
        AND NOT (j.exclusive AND EXISTS (SELECT FROM gristmill.jobs f WHERE f.scope = j.scope AND f.seq < j.seq
            AND f.state = 'failed' AND f.finished_at >= now() - %(days)s * interval '1 day'))
    ORDER BY finished_at LIMIT 2000
), payload AS (
    DELETE FROM gristmill.payloads p USING old WHERE p.job_id = old.id
)
DELETE FROM gristmill.jobs j USING old WHERE j.id = old.id
"""
_PRUNE_PROCESSES = "DELETE FROM gristmill.processes WHERE beat_at < now() - interval '1 day'"
_BEAT = """
INSERT INTO gristmill.processes (name, kind, queue, slots) VALUES (%(name)s, %(kind)s, %(queue)s, %(slots)s)
ON CONFLICT (name) DO UPDATE SET beat_at = clock_timestamp(), slots = EXCLUDED.slots
"""
_GONE = "DELETE FROM gristmill.processes WHERE name = %(name)s"


def prune_keys(connection: Connection, hours: float) -> int:
    """Delete idempotency keys older than ``hours``, at most 5,000 at once; return how many."""
    return connection.exec_driver_sql(_PRUNE_KEYS, {"hours": hours}).rowcount


def prune_jobs(connection: Connection, days: float) -> int:
    """Delete jobs that finished ``days`` ago with their chunks, at most 2,000 at once; return how many."""
    return connection.exec_driver_sql(_PRUNE_JOBS, {"days": days}).rowcount


def prune_processes(connection: Connection) -> None:
    connection.exec_driver_sql(_PRUNE_PROCESSES)


def beat_process(connection: Connection, name: str, kind: str, queue: str | None, slots: int) -> None:
    """Say that the process is alive and how many chunks it can run at once."""
    connection.exec_driver_sql(_BEAT, {"name": name, "kind": kind, "queue": queue, "slots": slots})


def remove_process(connection: Connection, name: str) -> None:
    connection.exec_driver_sql(_GONE, {"name": name})
