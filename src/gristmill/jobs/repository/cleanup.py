"""SQL of cleanup: finished jobs, idempotency keys and rows of processes that were kept long enough."""

from sqlalchemy import Connection

# A key that a submission takes over just now is passed by: neither may wait for rows of the other.
_PRUNE_KEYS = """
DELETE FROM gristmill.idempotency_keys WHERE (principal, key) IN (
    SELECT principal, key FROM gristmill.idempotency_keys
    WHERE created_at < now() - %(hours)s * interval '1 hour' LIMIT 5000 FOR UPDATE SKIP LOCKED)
"""
# An exclusive job is kept while an earlier failed job of a scope of its might still be retried: the retry must see it.
# Of the failed jobs only the first of each scope matters; they have an index.
_PRUNE_JOBS = """
WITH failed AS MATERIALIZED (
    SELECT id, scope, seq FROM gristmill.jobs
    WHERE chunks_failed > 0 AND state = 'failed' AND finished_at >= now() - %(days)s * interval '1 day'
), first AS MATERIALIZED (
    SELECT scope, min(seq) AS seq FROM (
        SELECT scope, seq FROM failed
        UNION ALL
        SELECT o.scope, f.seq FROM failed f JOIN gristmill.further_scopes o ON o.job_id = f.id
    ) AS scoped GROUP BY scope
), old AS (
    SELECT id FROM gristmill.jobs j WHERE finished_at < now() - %(days)s * interval '1 day'
        AND NOT (exclusive AND EXISTS (SELECT FROM first f WHERE f.scope = j.scope AND f.seq < j.seq))
        AND NOT EXISTS (SELECT FROM gristmill.further_scopes o JOIN first f ON f.scope = o.scope AND f.seq < j.seq
            WHERE o.job_id = j.id AND o.exclusive)
    ORDER BY finished_at LIMIT 2000
), payload AS (
    DELETE FROM gristmill.payloads p USING old WHERE p.job_id = old.id
)
DELETE FROM gristmill.jobs j USING old WHERE j.id = old.id
"""
_PRUNE_PROCESSES = "DELETE FROM gristmill.processes WHERE beat_at < now() - interval '1 day'"


def prune_keys(connection: Connection, hours: float) -> int:
    """Delete idempotency keys older than ``hours``, at most 5,000 at once; return how many."""
    return connection.exec_driver_sql(_PRUNE_KEYS, {"hours": hours}).rowcount


def prune_jobs(connection: Connection, days: float) -> int:
    """Delete jobs that finished ``days`` ago with their chunks, at most 2,000 at once; return how many."""
    return connection.exec_driver_sql(_PRUNE_JOBS, {"days": days}).rowcount


def prune_processes(connection: Connection) -> None:
    connection.exec_driver_sql(_PRUNE_PROCESSES)
