"""SQL of scheduled jobs that fall due: each takes its number then."""

import uuid

from sqlalchemy import Connection

_DUE_SCHEDULED = """
SELECT id FROM gristmill.jobs
WHERE seq IS NULL AND finished_at IS NULL AND run_at <= clock_timestamp()
ORDER BY run_at, id LIMIT 1000
"""
# All scopes of the job, in the order of their hashes, as a submission takes them.
_LOCK = """
SELECT CASE WHEN exclusive THEN pg_advisory_xact_lock(hash) ELSE pg_advisory_xact_lock_shared(hash) END
FROM (
    SELECT hashtextextended(scope, 0) AS hash, bool_or(exclusive) AS exclusive
    FROM gristmill.scopes WHERE job_id = %(id)s GROUP BY 1 ORDER BY 1
) AS ordered
"""
_PROMOTE = """
WITH job AS (
    UPDATE gristmill.jobs SET state = 'queued', seq = nextval('gristmill.job_number')
    WHERE id = %(id)s AND state = 'scheduled' RETURNING id, seq
)
UPDATE gristmill.chunks c SET seq = job.seq FROM job WHERE c.job_id = job.id
"""


def list_due_scheduled(connection: Connection) -> list[uuid.UUID]:
    return [row[0] for row in connection.exec_driver_sql(_DUE_SCHEDULED)]


def promote(connection: Connection, job_id: uuid.UUID) -> None:
    """Give a scheduled job its number: its place in the order is when it fell due."""
    connection.exec_driver_sql(_LOCK, {"id": str(job_id)})
    connection.exec_driver_sql(_PROMOTE, {"id": str(job_id)})
