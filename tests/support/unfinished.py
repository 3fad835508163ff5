"""What a test has left to do, taken off whoever comes after it."""

import uuid

from gristmill.core.database import Database
from gristmill.jobs.repository import cancel


def cancel_unfinished(database: Database) -> bool:
    """Cancel every job that has not ended; say whether there were any."""
    with database.transaction() as connection:
        query = "SELECT id FROM gristmill.jobs WHERE finished_at IS NULL"
        left = connection.exec_driver_sql(query).scalars().all()
    for job_id in left:
        with database.transaction() as connection:
            cancel.cancel(connection, uuid.UUID(str(job_id)))
    return bool(left)
