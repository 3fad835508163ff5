"""SQL of scheduled jobs that fall due: each takes its number then."""

import uuid

from sqlalchemy import Connection

from gristmill.jobs.repository.locks import WAIT_FOR_SCOPES_OF

_DUE_SCHEDULED = """
SELECT id FROM gristmill.jobs
WHERE seq IS NULL AND finished_at IS NULL AND run_at <= clock_timestamp()
ORDER BY run_at, id LIMIT 1000
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
    # Twice: while the first one waited, the job may have come into another scope.
    for _ in range(2):
        connection.exec_driver_sql(WAIT_FOR_SCOPES_OF, {"id": str(job_id)})
    connection.exec_driver_sql(_PROMOTE, {"id": str(job_id)})
