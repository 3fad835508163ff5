"""The two handlers of declared job types: each calls a function and makes its result the job's."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Unavailable
from gristmill.jobs.handlers import ChunkTask, IdempotentHandler, Outcome, Pair, SharingHandler
from gristmill.jobs.job_types.arguments import read_arguments
from gristmill.jobs.job_types.declaration import JobType, Result
from gristmill.jobs.job_types.results import encode_result
from gristmill.jobs.job_types.run import JobRun
from gristmill.jobs.job_types.transactions import JobDatabase, Limits, kept_open


class TransactionalFunction(SharingHandler):
    """Calls the function within the chunk's transaction."""

    def __init__(self, job_type: JobType, limits: Limits) -> None:
        self.type = job_type.name
        self.queue = job_type.queue
        self.job_type = job_type
        self._limits = limits

    def prepare(self, task: ChunkTask) -> Any:
        return read_arguments(self.job_type, task.args)

    def groups(self, pairs: Sequence[Pair]) -> list[list[Pair]]:
        # Only chunks of a type that says so share a message.
        return [list(pairs)]

    def apply_all(self, connection: Connection, group: Sequence[Pair]) -> list[Outcome]:
        # Looked after once for all of them: what is wrong with one is told when each is carried out alone.
        with kept_open(connection, self._limits):
            return [self._apply(connection, task, args) for task, args in group]

    def _apply(self, connection: Connection, task: ChunkTask, args: Any) -> Outcome:
        return Outcome(result=encode_result(_call(self.job_type, JobRun(task, connection=connection), args)))


class IdempotentFunction(IdempotentHandler):
    """Calls the function outside of any transaction."""

    def __init__(self, job_type: JobType, database: Database, limits: Limits) -> None:
        self.type = job_type.name
        self.queue = job_type.queue
        self.job_type = job_type
        self._database = database
        self._limits = limits

    def run(self, task: ChunkTask) -> Outcome:
        args = read_arguments(self.job_type, task.args)
        database = JobDatabase(self._database, self._limits)
        try:
            result = _call(self.job_type, JobRun(task, database=database), args)
        except BaseException:
            database.release()
            raise
        database.close()
        return Outcome(result=encode_result(result))


FunctionHandler = TransactionalFunction | IdempotentFunction


def handler_of(job_type: JobType, database: Database, limits: Limits) -> FunctionHandler:
    """Return the handler of a declared type. limits: those of its queue."""
    if job_type.idempotent:
        return IdempotentFunction(job_type, database, limits)
    return TransactionalFunction(job_type, limits)


def _call(job_type: JobType, run: JobRun, args: Any) -> Result:
    try:
        return job_type(run, args)
    except job_type.retry_on as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error
