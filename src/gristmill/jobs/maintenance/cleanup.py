"""Deletes what has been kept long enough: finished jobs, idempotency keys, rows of processes that have ended."""

from gristmill.core.database import Database
from gristmill.core.logs import get_logger
from gristmill.jobs.repository import cleanup as repository

log = get_logger()


def prune(database: Database, *, retention_days: float, idempotency_hours: float) -> None:
    """Delete a bounded number of each; call it about once a minute."""
    with database.transaction() as connection:
        keys = repository.prune_keys(connection, idempotency_hours)
    with database.transaction() as connection:
        jobs = repository.prune_jobs(connection, retention_days)
        repository.prune_processes(connection)
    if keys or jobs:
        log.info("retention.pruned", jobs=jobs, idempotency_keys=keys)
