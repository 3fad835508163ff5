"""Notices that Postgres was restarted, whose memory is empty then, and submits the job that reads indexes into it."""

from gristmill.core.database import Database
from gristmill.core.logs import get_logger
from gristmill.jobs.submit import submit_system_job, unfinished_in_scope
from gristmill.search.index.tasks import ALL_INDEXES, index_warm
from gristmill.search.index.warm import IndexWarmer
from gristmill.search.repository import warming

log = get_logger()
EVERY = 5.0
# Searches wait for the disk until it is done.
PRIORITY = 9


class RestartWatch:
    """Compares when Postgres was started with the start that was noted last, in a table that all dispatchers share.

    So it also finds a restart while no dispatcher ran, the start of a standby as the new primary, and a database that
    was restored elsewhere. The noting transaction submits the job: it is submitted once for each start.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._warmer = IndexWarmer(database)

    def run(self) -> int:
        """Submit the job if it is due and return the number of jobs. Nothing is noted while nothing can be read."""
        with self._database.autocommit() as connection:
            if warming.is_noted(connection):
                return 0
        if not self._warmer.is_possible():
            return 0
        with self._database.transaction() as connection:
            if not warming.note_start(connection) or not warming.ready_by_use(connection):
                return 0
            if unfinished_in_scope(connection, ALL_INDEXES):
                # It has not begun, or lost its connection in the restart: it will read all of them anyway.
                return 0
            job_id = submit_system_job(connection, index_warm(), PRIORITY)
        log.info("indexes.cold", job=str(job_id))
        return 1
