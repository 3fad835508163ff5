"""The jobs ``index.build``, ``index.rebuild``, ``index.warm``, and the hooks that free a table from builds."""

import uuid
from typing import Any

from sqlalchemy import Connection

from gristmill.jobs.handlers import ChunkTask, IdempotentHandler, Outcome
from gristmill.jobs.submit import NewJob
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.warm import IndexWarmer
from gristmill.search.repository import catalogue, curves, indexes

INDEX_BUILD, INDEX_REBUILD, INDEX_WARM = "index.build", "index.rebuild", "index.warm"
# The scope of the job that reads the indexes of all datasets.
ALL_INDEXES = "index.warm"


class IndexBuildHandler(IdempotentHandler):
    """Does the step that is due for a dataset. args: dataset_id, needed, loading, as ``IndexBuilder.build`` has them.

    Its effects are named by the catalogue; see there for how they are adopted.
    """

    type = INDEX_BUILD
    queue = "long"

    def __init__(self, builder: IndexBuilder) -> None:
        self._builder = builder

    def run(self, task: ChunkTask) -> Outcome:
        done = self._builder.build(
            uuid.UUID(task.args["dataset_id"]),
            task.job_id,
            task.check,
            needed=task.args.get("needed"),
            loading=task.args.get("loading", False),
            report=task.report,
        )
        return Outcome(result=done)


class IndexRebuildHandler(IdempotentHandler):
    """Builds a dataset's indexes anew. args: dataset_id."""

    type = INDEX_REBUILD
    queue = "long"

    def __init__(self, builder: IndexBuilder) -> None:
        self._builder = builder

    def run(self, task: ChunkTask) -> Outcome:
        dataset_id = uuid.UUID(task.args["dataset_id"])
        return Outcome(result=self._builder.rebuild(dataset_id, task.job_id, task.check, report=task.report))


class IndexWarmHandler(IdempotentHandler):
    """Reads the indexes of all datasets into memory, after a restart of Postgres. No args."""

    type = INDEX_WARM
    queue = "long"

    def __init__(self, warmer: IndexWarmer) -> None:
        self._warmer = warmer

    def run(self, task: ChunkTask) -> Outcome:
        done = self._warmer.warm_all(task.check, task.report)
        return Outcome(result={"indexes": done.indexes, "bytes": done.size})


def index_build(dataset_id: uuid.UUID, name: str, needed: int | None = None, loading: bool = False) -> NewJob:
    """Return the job that does what is due for a dataset's index."""
    return _job(INDEX_BUILD, dataset_id, name, needed=needed, loading=loading)


def index_rebuild(dataset_id: uuid.UUID, name: str) -> NewJob:
    """Return the job that builds a dataset's indexes anew."""
    return _job(INDEX_REBUILD, dataset_id, name)


def index_warm() -> NewJob:
    """Return the job that reads the indexes of all datasets into memory."""
    return NewJob(type=INDEX_WARM, scope=ALL_INDEXES, exclusive=True, args={}, dataset=None, queue="long")


def _job(type_: str, dataset_id: uuid.UUID, name: str, **args: Any) -> NewJob:
    return NewJob(
        type=type_,
        scope=scope_of(dataset_id),
        exclusive=True,
        args={"dataset_id": str(dataset_id), **args},
        dataset=name,
        queue="long",
    )


def scope_of(dataset_id: uuid.UUID) -> str:
    """Return the scope of index builds: not the dataset's own, as they neither wait for writes nor delay them."""
    return f"index:{dataset_id}"


def release_table(connection: Connection, dataset_id: uuid.UUID, _name: str) -> None:
    """Free the dataset's table from index builds; to be called in the transaction that drops it.

    A build that runs is cancelled, as it holds a lock on the table, and nothing of it will be found ready any more.
    """
    indexes.cancel_builders(connection, dataset_id)
    catalogue.delete_all(connection, dataset_id)
    curves.forget_queries(connection, dataset_id)


def empty_catalogue(connection: Connection, dataset_id: uuid.UUID, name: str) -> None:
    """Forget the segments of a table whose rows were all deleted, in the transaction that deletes them."""
    release_table(connection, dataset_id, name)
    indexes.drop_all(connection, name)


def interrupt_builds(connection: Connection, dataset_id: uuid.UUID, _name: str) -> None:
    """Cancel the build that runs, for a change of the table that would otherwise wait for it; it is tried again."""
    indexes.cancel_builders(connection, dataset_id)
