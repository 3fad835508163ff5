"""The job ``index.build``, and what other domains need to know of indexes: drop hook, state."""

import uuid
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from gristmill.datasets.reader import Dataset
from gristmill.jobs.handlers import ChunkTask, IdempotentHandler, Outcome
from gristmill.jobs.submit import NewChunk, NewJob
from gristmill.search import repository
from gristmill.search.build import IndexBuilder

INDEX_BUILD = "index.build"


class IndexBuildHandler(IdempotentHandler):
    """Seals the tail of a dataset. Its effects are named by the catalogue; see ``build`` for how they are adopted."""

    type = INDEX_BUILD
    queue = "long"

    def __init__(self, builder: IndexBuilder) -> None:
        self._builder = builder

    def run(self, task: ChunkTask) -> Outcome:
        done = self._builder.build(uuid.UUID(task.args["dataset_id"]), task.job_id, task.check)
        return Outcome(result=done)


def index_build(dataset_id: uuid.UUID, name: str) -> NewJob:
    """Return the job that seals the tail of a dataset."""
    return NewJob(
        type=INDEX_BUILD,
        scope=scope_of(dataset_id),
        exclusive=True,
        args={"dataset_id": str(dataset_id)},
        dataset=name,
        chunks=[NewChunk(first_record=0, records=0, payload=None)],
        queue="long",
    )


def scope_of(dataset_id: uuid.UUID) -> str:
    """Return the scope of index builds: not the dataset's own, as they neither wait for writes nor hold them up."""
    return f"index:{dataset_id}"


def release_table(connection: Connection, dataset_id: uuid.UUID, _name: str) -> None:
    """Free the dataset's table from index builds; to be called in the transaction that drops it.

    A build that runs is cancelled, as it holds a lock on the table, and nothing of it will be found ready any more.
    """
    repository.cancel_builders(connection, dataset_id)
    repository.delete_all(connection, dataset_id)


def interrupt_builds(connection: Connection, dataset_id: uuid.UUID, _name: str) -> None:
    """Cancel the build that runs, for a change of the table that would otherwise wait for it; it is tried again."""
    repository.cancel_builders(connection, dataset_id)


def index_state(connection: Connection, dataset: Dataset) -> dict[str, Any]:
    """Return how much of the dataset has indexes: segments, sealed_rows, tail_rows, building."""
    segments = repository.all_segments(connection, dataset.id)
    ready = [segment for segment in segments if segment.state == "ready"]
    try:
        tail = repository.count_records(connection, dataset.name, ready[-1].hi if ready else 1)
    except ProgrammingError as error:
        # 42P01, undefined_table: the dataset is still being created.
        if getattr(error.orig, "pgcode", None) != "42P01":
            raise
        tail = 0
    return {
        "segments": len(ready),
        "sealed_rows": sum(segment.rows for segment in ready),
        "tail_rows": tail,
        "building": any(segment.state == "building" for segment in segments),
    }
