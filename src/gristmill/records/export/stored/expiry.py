"""Maintenance of stored exports: a job for what has expired, and rows that nobody needs any more."""

from gristmill.core.database import Database
from gristmill.core.logs import get_logger
from gristmill.jobs.submit import submit_system_job, unfinished_in_scope
from gristmill.records.export.stored import repository
from gristmill.records.export.stored.tasks import ALL_EXPORTS, due_exports, remove_job

log = get_logger()
# Jobs that users wait for go first.
PRIORITY = 1


class ExportExpiry:
    """Looks regularly whether files are due to go. The storage itself is only touched by workers: it may be slow."""

    def __init__(self, database: Database, *, grace: float, retention_days: float, max_attempts: int) -> None:
        self._database = database
        self._grace = grace
        self._retention_days = retention_days
        self._max_attempts = max_attempts

    def run(self) -> int:
        """Submit what is due and return the number of jobs."""
        found = due_exports(self._database, self._grace)
        with self._database.transaction() as connection:
            repository.prune(connection, self._retention_days)
            if not found or unfinished_in_scope(connection, ALL_EXPORTS):
                return 0
            job_id = submit_system_job(connection, remove_job(self._max_attempts), PRIORITY)
        log.info("exports.due", exports=len(found), job=str(job_id))
        return 1
