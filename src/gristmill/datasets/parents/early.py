"""Trying a write out when it is submitted, so that what its job would be refused for is refused at once."""

import contextlib
from collections.abc import Iterable, Iterator

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.core.database import CONTENDED, set_time_limit
from gristmill.jobs.submit import unfinished_in_scope

# Others wait for the scope meanwhile. What takes longer to find out is left to the job.
SECONDS = 0.5
# What is written when a write is tried out is of no job: numbers begin at 1.
NO_JOB = 0


def is_idle(connection: Connection, scopes: Iterable[str]) -> bool:
    """Say whether no unfinished job could still change what is there."""
    return not any(unfinished_in_scope(connection, scope) for scope in scopes)


@contextlib.contextmanager
def undone(connection: Connection) -> Iterator[None]:
    """Undo whatever is done in the block, which ends quietly where it takes long or waits for others."""
    with contextlib.suppress(_TooLong):
        savepoint = connection.begin_nested()
        try:
            set_time_limit(connection, SECONDS)
            yield
        except DBAPIError as error:
            if getattr(error.orig, "pgcode", None) in CONTENDED:
                raise _TooLong from error
            raise
        finally:
            # The time limit goes with it.
            savepoint.rollback()


class _TooLong(Exception):
    pass
