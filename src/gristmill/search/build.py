"""Sealing: builds the partial HNSW index of a new segment, then removes the smaller ones that it replaces."""

import contextlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.exc import ProgrammingError

from gristmill.core.database import DATA_SCHEMA, Database
from gristmill.core.errors import GristmillError
from gristmill.core.logs import get_logger
from gristmill.datasets.reader import DROPPED
from gristmill.jobs.errors import JobDropped, Signal
from gristmill.kit.identifiers import quote
from gristmill.search import repository
from gristmill.search.repository import Searchable, Segment
from gristmill.search.session import BuildSession, Check, open_session
from gristmill.search.vector import OPERATOR_CLASSES

log = get_logger()

# A graph of M = 16 neighbours (32 on the lowest level) and a candidate list of 128 while building: with ef_search 100
# this finds 98 % of the true ten nearest of 60,000 package descriptions; a candidate list of 64 finds 97 %.
M = 16
EF_CONSTRUCTION = 128
# A search walks each segment's graph; merging more eagerly saves searches time and costs builds.
MERGE_FACTOR = 2
# Fewer rows are scanned faster than a graph of them is walked.
MIN_ROWS = 1000
# Memory of one row in a graph under construction, beside its vector: neighbours with their distances, and overhead.
_ROW_OVERHEAD = 700


@dataclass(frozen=True, slots=True)
class BuildSettings:
    """memory_mb: maintenance_work_mem of a build. workers: parallel processes that help it."""

    memory_mb: int = 512
    workers: int = 1
    min_rows: int = MIN_ROWS
    check_every: float = 1.0


class IndexBuilder:
    """Seals the tail of one dataset. Any number may run: one dataset is built by one at a time."""

    def __init__(self, database: Database, settings: BuildSettings | None = None) -> None:
        self._database = database
        self._settings = settings or BuildSettings()

    def build(self, dataset_id: uuid.UUID, job_id: uuid.UUID, check: Check) -> dict[str, Any]:
        """Seal what the tail holds now, together with segments not much larger, and return what was done.

        What an earlier attempt left is adopted if its index is valid, else removed. ``check`` is called at least every
        second; what it raises ends the build. Raises JobDropped, IndexBuildInterrupted (retryable).
        """
        with (
            _dropped_ends_the_job(),
            open_session(self._database, dataset_id, check, self._settings.check_every) as session,
        ):
            session.set("maintenance_work_mem", f"{self._settings.memory_mb}MB")
            session.set("max_parallel_maintenance_workers", str(self._settings.workers))
            adopted = self._tidy(session, dataset_id, self._dataset(dataset_id))
            dataset = self._dataset(dataset_id)
            segment = self._plan(dataset_id, dataset, job_id)
            if segment is None:
                return {"rows": 0, "adopted": adopted}
            log.info("segment.building", dataset=dataset.name, index=segment.index_name, lo=segment.lo, hi=segment.hi)
            try:
                session.run(_create_index(dataset, segment))
            except (GristmillError, Signal):
                self._abandon(session, segment)
                self._dataset(dataset_id)
                raise
            rows = self._finish(session, dataset, segment)
            self._tidy(session, dataset_id, dataset)
        log.info("segment.ready", dataset=dataset.name, index=segment.index_name, rows=rows)
        return {"rows": rows, "adopted": adopted, "index": segment.index_name}

    def _dataset(self, dataset_id: uuid.UUID) -> Searchable:
        with self._database.autocommit() as connection:
            found = repository.find_searchable(connection, dataset_id)
        if found is None or found.state != "ready":
            raise JobDropped(DROPPED)
        return found

    def _tidy(self, session: BuildSession, dataset_id: uuid.UUID, dataset: Searchable) -> int:
        """Adopt or remove what earlier builds left, and remove what was replaced; return how many were adopted."""
        with self._database.autocommit() as connection:
            left = [s for s in repository.all_segments(connection, dataset_id) if s.state != "ready"]
        adopted = 0
        # Adopting first: it may replace others, which are then removed.
        for segment in left:
            if segment.state == "building":
                with self._database.autocommit() as connection:
                    valid = repository.index_is_valid(connection, segment.index_name)
                if valid:
                    self._finish(session, dataset, segment)
                    adopted += 1
        with self._database.autocommit() as connection:
            left = [s for s in repository.all_segments(connection, dataset_id) if s.state != "ready"]
        for segment in left:
            self._remove(session, segment)
        return adopted

    def _plan(self, dataset_id: uuid.UUID, dataset: Searchable, job_id: uuid.UUID) -> Segment | None:
        """Add a segment for the tail and the segments that go into it; None if the tail is too small."""
        with self._database.transaction() as connection:
            ready = [s for s in repository.all_segments(connection, dataset_id) if s.state == "ready"]
            start = ready[-1].hi if ready else 1
            # Up to the last number drawn, not the last one visible: CREATE INDEX CONCURRENTLY waits for transactions
            # that hold smaller ones, so that nobody has to insert into the graph afterwards.
            end = 1 + max(
                repository.last_drawn_id(connection, dataset.name), repository.highest_id(connection, dataset.name)
            )
            tail = repository.count_records(connection, dataset.name, start, end)
            if tail < self._settings.min_rows:
                return None
            live = [repository.count_records(connection, dataset.name, s.lo, s.hi) for s in ready]
            lo = merge_from(ready, live, tail, self._most_rows(dataset), start)
            return repository.insert_building(connection, dataset_id, dataset.name, lo, end, job_id)

    def _most_rows(self, dataset: Searchable) -> int:
        """Return how many rows a graph may have to be built within the memory; a larger one is built far slower."""
        return self._settings.memory_mb * 1024 * 1024 // (4 * dataset.dimensions + _ROW_OVERHEAD)

    def _finish(self, session: BuildSession, dataset: Searchable, segment: Segment) -> int:
        """Let searches use the segment, in place of those within its range; return its rows."""
        with self._database.transaction() as connection:
            rows = repository.count_records(connection, dataset.name, segment.lo, segment.hi)
            found = repository.finish(connection, segment.id, rows)
        if not found:
            # The dataset was dropped, and perhaps made anew, while the index was built.
            session.run(_drop_index(segment))
            raise JobDropped(DROPPED)
        return rows

    def _remove(self, session: BuildSession, segment: Segment) -> None:
        session.run(_drop_index(segment))
        with self._database.autocommit() as connection:
            repository.delete(connection, segment.id)

    def _abandon(self, session: BuildSession, segment: Segment) -> None:
        """Leave the half-made index to the next build: dropping it here could wait for long."""
        with self._database.autocommit() as connection:
            repository.give_up(connection, segment.id)
        log.warning("segment.abandoned", index=segment.index_name)


def merge_from(ready: Sequence[Segment], live: Sequence[int], tail: int, most: int, start: int) -> int:
    """Return the first ``_id`` of the new segment, which takes in those before it that hold up to twice its own rows.

    The number of segments, and how often a row is built in again, thus grow with the logarithm of all rows (O'Neil et
    al., The log-structured merge-tree, 1996). live: rows of each of ``ready`` now; most: rows that the new segment may
    have.
    """
    rows, lo = tail, start
    for segment, held in zip(reversed(ready), reversed(live), strict=True):
        if held > MERGE_FACTOR * rows or rows + held > most:
            break
        rows += held
        lo = segment.lo
    return lo


@contextlib.contextmanager
def _dropped_ends_the_job() -> Iterator[None]:
    """Raise JobDropped where a statement finds the table gone."""
    try:
        yield
    except ProgrammingError as error:
        # 42P01: undefined_table.
        if getattr(error.orig, "pgcode", None) != "42P01":
            raise
        raise JobDropped(DROPPED) from error


def _create_index(dataset: Searchable, segment: Segment) -> str:
    return (
        f"CREATE INDEX CONCURRENTLY {quote(segment.index_name)} ON {quote(DATA_SCHEMA)}.{quote(dataset.name)}"
        f" USING hnsw (_embedding {OPERATOR_CLASSES[dataset.metric]})"
        f" WITH (m = {M}, ef_construction = {EF_CONSTRUCTION}) WHERE _id >= {segment.lo:d} AND _id < {segment.hi:d}"
    )


def _drop_index(segment: Segment) -> str:
    return f"DROP INDEX CONCURRENTLY IF EXISTS {quote(DATA_SCHEMA)}.{quote(segment.index_name)}"
