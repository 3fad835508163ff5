"""The connection of one index build: its lock, and statements that run for minutes and can be cancelled meanwhile."""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import psycopg2
from psycopg2 import errors

from gristmill.core.database import DISK_FULL, Database, data_relation
from gristmill.core.errors import Unavailable
from gristmill.datasets.errors import IndexBuildInterrupted, NoDiskLeft, OutOfSpace
from gristmill.datasets.lookup import DROPPED
from gristmill.jobs.errors import JobDropped

# CREATE INDEX CONCURRENTLY waits for every transaction that was there before it. One that stays open longer than this
# was probably forgotten; the build is tried again later.
LOCK_TIMEOUT = "5min"
# The lock that a builder holds for as long as its backend lives. Its text differs from every scope of a job, whose
# locks are made the same way.
LOCK_KEY = "hashtextextended('gristmill index build ' || %(dataset_id)s, 0)"
Check = Callable[[], None]


class BuildSession:
    """A connection in autocommit mode that holds the dataset's build lock for as long as its backend lives.

    A builder whose worker was killed holds the lock until Postgres has noticed and ended its statement, so nobody
    else can meet its half-made index.
    """

    def __init__(self, connection: Any, check: Check, check_every: float) -> None:
        self._connection = connection
        self._check = check
        self._check_every = check_every

    def run(self, sql: str) -> None:
        """Run a long statement; ``check`` is called meanwhile, and what it raises cancels the statement.

        Raises JobDropped if the table is gone, IndexBuildInterrupted if it was cancelled or a lock was not granted.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="index-build") as pool:
            future = pool.submit(self._execute, sql)
            try:
                while not future.done():
                    wait([future], timeout=self._check_every)
                    if not future.done():
                        self._check()
            except BaseException:
                self._cancel(future)
                raise
        with translated():
            future.result()

    def lock(self, dataset_id: uuid.UUID) -> None:
        """Wait for the lock, ``check`` being called meanwhile.

        The lock is polled: CREATE INDEX CONCURRENTLY waits for every running statement, so a statement that waited for
        the lock of its builder would never end.
        """
        sql = f"SELECT pg_try_advisory_lock({LOCK_KEY})"
        while not self._execute(sql, {"dataset_id": str(dataset_id)}):
            self._check()
            time.sleep(min(0.5, self._check_every))

    def set(self, name: str, value: str) -> None:
        self._execute("SELECT set_config(%(name)s, %(value)s, false)", {"name": name, "value": value})

    def _execute(self, sql: str, parameters: dict[str, str] | None = None) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchone()[0] if cursor.description else None

    def _cancel(self, future: "Future[Any]") -> None:
        # A cancel request that arrives between two statements is lost, hence the repetition.
        while not future.done():
            with contextlib.suppress(psycopg2.Error):
                self._connection.cancel()
            wait([future], timeout=1.0)


@contextlib.contextmanager
def open_session(
    database: Database, dataset_id: uuid.UUID, check: Check, check_every: float = 1.0
) -> Iterator[BuildSession]:
    """Yield a session that holds the dataset's build lock; waits for whoever holds it."""
    connection = database.connect_raw()
    try:
        session = BuildSession(connection, check, check_every)
        with translated():
            session.lock(dataset_id)
            session.set("statement_timeout", "0")
            session.set("lock_timeout", LOCK_TIMEOUT)
        yield session
    finally:
        connection.close()


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn psycopg2's errors into the build's own."""
    try:
        yield
    except errors.UndefinedTable as error:
        raise JobDropped(DROPPED) from error
    except psycopg2.Error as error:
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        if error.pgcode == DISK_FULL:
            raise NoDiskLeft(f"Postgres had no disk left for the index: {reason}") from error
        if error.pgcode == "53200":
            raise OutOfSpace(f"Postgres had no memory left for the index: {reason}") from error
        if error.pgcode is None:
            raise Unavailable(f"The connection to Postgres was lost: {reason}") from error
        raise IndexBuildInterrupted(f"The index build was interrupted: {reason}") from error


def drop_index(name: str) -> str:
    """Return the statement that removes an index while the table is written to."""
    return f"DROP INDEX CONCURRENTLY IF EXISTS {data_relation(name)}"
