"""Scheduled jobs whose time has come are queued."""

from gristmill.core.database import Database
from gristmill.jobs.repository import schedule as repository


def promote_scheduled(database: Database) -> int:
    """Queue the jobs whose time has come, each under a number that it takes now; return how many."""
    with database.autocommit() as connection:
        due = repository.list_due_scheduled(connection)
    for job_id in due:
        with database.transaction() as connection:
            repository.promote(connection, job_id)
    return len(due)
