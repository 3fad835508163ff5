"""Transactions of functions. That of a chunk is committed with its end, so the function may not end it itself."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from sqlalchemy import Connection, event
from sqlalchemy.exc import DBAPIError

from gristmill.broker.queues import find_queue
from gristmill.core.config import Settings
from gristmill.core.database import Database
from gristmill.jobs.errors import TransactionEnded
from gristmill.jobs.repository import transactions

_ABORTED = "25P02"
# Seconds that a process has to end in when its hard time limit has run out.
_END = 30.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds that a statement of a function may take, and that its transaction may stand still.

    The queue's time limits end a function. A session that Postgres ended before would look like one that was lost, for
    which no attempt is counted: it would go on for ever.
    """

    statement: float
    idle: float

    @classmethod
    def of(cls, queue: str, settings: Settings) -> "Limits":
        """Return those of a queue."""
        found = find_queue(queue)
        return cls(found.soft_time_limit(settings), found.time_limit(settings) + _END)


@contextlib.contextmanager
def kept_open(connection: Connection, limits: Limits) -> Iterator[None]:
    """Let a function write in the transaction, and see to it that it is the same one afterwards.

    Raises TransactionEnded.
    """
    began = transactions.begin(connection, limits.statement, limits.idle)
    # The job's own savepoint, where it shares the transaction with others.
    around = connection.get_nested_transaction()
    refused: list[str] = []
    refusals = [(name, _refusal(name, refused)) for name in ("commit", "rollback")]
    for name, refuse in refusals:
        event.listen(connection, name, refuse)
    try:
        yield
    finally:
        for name, refuse in refusals:
            event.remove(connection, name, refuse)
        if refused and not connection.closed:
            # SQLAlchemy takes the transaction for ended, and would hand it to the next one who wants a connection.
            connection.invalidate()
    if refused:
        # Who caught the exception is told it once more.
        raise _refused(refused[0])
    if connection.closed:
        raise TransactionEnded("The function closed run.connection")
    left = connection.get_nested_transaction()
    if left is not around:
        if left is not None:
            left.rollback()
        raise TransactionEnded("The function left a savepoint open: begin_nested() belongs into a with statement")
    try:
        ended = transactions.end(connection)
    except DBAPIError as error:
        if getattr(error.orig, "pgcode", None) != _ABORTED:
            raise
        raise TransactionEnded(
            "The function went on after a statement had failed, and nothing of it can be committed: "
            "what may fail belongs into `with run.connection.begin_nested():`"
        ) from error
    if ended != began:
        raise TransactionEnded("The function ended its transaction by a statement of its own; what it committed stays")


def _refusal(name: str, refused: list[str]) -> Callable[[Connection], None]:
    def refuse(_: Connection) -> None:
        refused.append(name)
        raise _refused(name)

    return refuse


def _refused(name: str) -> TransactionEnded:
    return TransactionEnded(
        f"The function called {name}() on run.connection, whose transaction is committed with the end of the job"
    )


class JobDatabase:
    """The database, for functions without a transaction of the job's own: each block is one transaction."""

    def __init__(self, database: Database, limits: Limits) -> None:
        self._database = database
        self._limits = limits
        self._open: list[Connection] = []

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Connection]:
        """A transaction: committed at the end of the block, rolled back on any exception.

        Raises Unavailable where Postgres cannot be reached or has ended a deadlock.
        """
        with self._database.transaction() as connection:
            self._open.append(connection)
            try:
                transactions.begin(connection, self._limits.statement, self._limits.idle)
                yield connection
            finally:
                self._open.remove(connection)

    def release(self) -> int:
        """Roll back what a function has left open; return how many transactions that were."""
        left = list(self._open)
        for connection in left:
            connection.close()
        return len(left)

    def close(self) -> None:
        """Roll back what a function has left open. Raises TransactionEnded if there was any."""
        if left := self.release():
            raise TransactionEnded(
                f"The function left {left} transactions open, which were rolled back: "
                "run.database.transaction() belongs into a with statement"
            )
