"""Deletes the rejects of jobs that retention has deleted, a bounded number at a time."""

import uuid

from gristmill.core.database import Database
from gristmill.core.logs import get_logger
from gristmill.records.rejects import repository

log = get_logger()
_START = uuid.UUID(int=0)
JOBS_PER_RUN = 1000
ROWS_PER_TRANSACTION = 5000
ROWS_PER_RUN = 50_000


class RejectCleanup:
    """Walks over the jobs that have rejects, a part of them at each run, and starts again after the last."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after = _START

    def run(self) -> int:
        """Delete what belongs to no job any more; return the number of rejects. Call it about once a minute."""
        with self._database.autocommit() as connection:
            found = repository.next_jobs(connection, self._after, JOBS_PER_RUN)
        forgotten = 0
        for job_id, exists in found:
            while not exists and forgotten < ROWS_PER_RUN:
                with self._database.transaction() as connection:
                    deleted = repository.forget(connection, job_id, ROWS_PER_TRANSACTION)
                forgotten += deleted
                if deleted < ROWS_PER_TRANSACTION:
                    break
            if forgotten >= ROWS_PER_RUN:
                break
            self._after = job_id
        else:
            if len(found) < JOBS_PER_RUN:
                self._after = _START
        if forgotten:
            log.info("rejects.forgotten", rejects=forgotten)
        return forgotten
