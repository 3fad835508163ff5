"""Carries out a build on one dataset: makes an index, enters it into the catalogue, removes what is replaced."""

import time
import uuid
from collections.abc import Callable, Sequence

from sqlalchemy import Connection

from gristmill.core.database import Database, set_time_limit
from gristmill.core.errors import GristmillError
from gristmill.core.logs import get_logger
from gristmill.datasets.errors import IndexBuildInterrupted, OutOfSpace
from gristmill.datasets.index_session import LOCK_TIMEOUT, BuildSession
from gristmill.datasets.lookup import DROPPED
from gristmill.jobs.errors import JobDropped, Signal
from gristmill.search.index import graph
from gristmill.search.index.graph import GraphParameters
from gristmill.search.index.progress import ProgressReport
from gristmill.search.repository import builds, catalogue, indexes, record_ids
from gristmill.search.repository.catalogue import Segment
from gristmill.search.repository.searchable import Searchable, find_searchable

log = get_logger()
# Removing an index waits for every transaction that uses its table. An export or a report that stays longer is not
# waited for: no search uses the index any more, and it is removed later.
DROP_TIMEOUT = "5s"


class SegmentBuilder:
    """Holds the build lock of one dataset through its session, so that no other builder changes its segments."""

    def __init__(
        self,
        database: Database,
        session: BuildSession,
        dataset_id: uuid.UUID,
        progress: ProgressReport,
        warm: Callable[[Sequence[str]], object],
    ) -> None:
        """warm: reads indexes into memory; it is given their names."""
        self._database = database
        self._session = session
        self._dataset_id = dataset_id
        self._progress = progress
        self._warm = warm

    def dataset(self) -> Searchable:
        """Return the dataset. Raises JobDropped."""
        with self._database.autocommit() as connection:
            found = find_searchable(connection, self._dataset_id)
        if found is None or found.state != "ready":
            raise JobDropped(DROPPED)
        return found

    def remove_leftovers(self, keep: uuid.UUID | None = None) -> int:
        """Adopt or remove what earlier builds left, and remove what was replaced; return how many were adopted.

        keep: the job whose finished parts of a rebuild are left alone.
        """
        dataset = self.dataset()
        adopted = sum(self._settle(dataset, segment, keep) for segment in self._segments())
        # Now that all are settled: an adopted one may have replaced others.
        left = [(s.index_name, s.id) for s in self._segments() if s.state != "ready" and not _is_part(s, keep)]
        with self._database.autocommit() as connection:
            unknown = indexes.orphans(connection, dataset.name)
        for name in unknown:
            log.warning("segment.unknown_index", dataset=dataset.name, index=name)
        for name, segment_id in [*left, *((name, None) for name in unknown)]:
            if not self._remove(name, segment_id):
                break
        return adopted

    def _settle(self, dataset: Searchable, segment: Segment, keep: uuid.UUID | None) -> bool:
        """Adopt the segment if its index is complete; give it up if it should have one and has not."""
        if segment.state == "ready" and not self._is_valid(segment):
            # Somebody dropped it, or a backup was restored without it.
            log.warning("segment.without_index", dataset=dataset.name, index=segment.index_name)
            with self._database.autocommit() as connection:
                catalogue.retire(connection, self._dataset_id, segment.lo, segment.hi)
        if segment.state != "building" or not self._is_valid(segment):
            return False
        if keep is not None and segment.job_id == keep:
            self.finish_part(dataset, segment)
        elif self._cuts(segment):
            return False
        else:
            self.finish(dataset, segment)
        return True

    def make(
        self,
        dataset: Searchable,
        segment: Segment,
        rows: int,
        parameters: GraphParameters,
        memory_mb: int,
        workers: int,
    ) -> None:
        """Build the segment's index of about ``rows`` rows, with ``workers`` processes beside Postgres' own.

        Raises JobDropped, IndexBuildInterrupted, and what the session's check raises; the next build then removes what
        is left.
        """
        self._session.set("maintenance_work_mem", f"{graph.memory_for(dataset, parameters, rows, memory_mb)}MB")
        self._session.set("lock_timeout", LOCK_TIMEOUT)
        self._progress.begin(segment.index_name, rows)
        try:
            self._create(graph.create_index(dataset, segment, parameters), segment, workers)
        except (GristmillError, Signal):
            self._abandon(segment)
            self.dataset()
            raise
        self._progress.end()

    def _create(self, ddl: str, segment: Segment, workers: int) -> None:
        self._session.set("max_parallel_maintenance_workers", str(workers))
        with self._database.autocommit() as connection:
            builds.begin(connection, segment.id, workers)
        began = time.monotonic()
        try:
            self._session.run(ddl)
        except OutOfSpace as error:
            if not workers:
                raise
            # Helper processes need the graph in shared memory, of which containers often have little; one process alone
            # does not.
            log.warning("segment.without_helpers", index=segment.index_name, reason=error.detail)
            self._session.run(graph.drop_index(segment.index_name))
            self._create(ddl, segment, 0)
            return
        with self._database.autocommit() as connection:
            builds.end(connection, segment.id, workers, time.monotonic() - began)

    def finish(self, dataset: Searchable, segment: Segment) -> int:
        """Read the segment's index, let searches use it in place of those within its range; return its rows."""
        self._warm([segment.index_name])
        return self._enter(dataset, segment, catalogue.finish)

    def finish_part(self, dataset: Searchable, segment: Segment) -> int:
        """Note that this part of a rebuild is complete; return its rows."""
        return self._enter(dataset, segment, catalogue.finish_part)

    def warm_parts(self) -> None:
        """Read the indexes of all complete parts of a rebuild: they are searched next."""
        self._warm([segment.index_name for segment in self._segments() if segment.state == "built"])

    def _enter(self, dataset: Searchable, segment: Segment, finish: Callable[[Connection, int, int], bool]) -> int:
        if segment.half_precision:
            self._session.run(graph.without_statistics(segment.index_name))
        with self._database.transaction() as connection:
            set_time_limit(connection, 0)
            rows = record_ids.count_records(connection, dataset.name, segment.lo, segment.hi)
            found = finish(connection, segment.id, rows)
        if not found:
            # The dataset was dropped, and perhaps made anew, while the index was built.
            self._session.run(graph.drop_index(segment.index_name))
            raise JobDropped(DROPPED)
        return rows

    def _abandon(self, segment: Segment) -> None:
        """Leave the half-made index to the next build: dropping it here could wait for long."""
        with self._database.autocommit() as connection:
            catalogue.give_up(connection, segment.id)
        log.warning("segment.abandoned", index=segment.index_name)

    def _remove(self, index_name: str, segment_id: int | None = None) -> bool:
        """Drop an index and forget its segment; False if somebody uses the table and it has to wait."""
        self._session.set("lock_timeout", DROP_TIMEOUT)
        try:
            self._session.run(graph.drop_index(index_name))
        except IndexBuildInterrupted as error:
            log.info("segment.kept", index=index_name, reason=error.detail)
            return False
        if segment_id is not None:
            with self._database.autocommit() as connection:
                catalogue.delete(connection, segment_id)
        return True

    def _segments(self) -> list[Segment]:
        with self._database.autocommit() as connection:
            return catalogue.all_segments(connection, self._dataset_id)

    def _is_valid(self, segment: Segment) -> bool:
        with self._database.autocommit() as connection:
            return bool(indexes.index_is_valid(connection, segment.index_name))

    def _cuts(self, segment: Segment) -> bool:
        """Say whether the segment shares a part of a ready one: a part of a rebuild that was given up may."""
        return any(
            other.lo < segment.hi and segment.lo < other.hi and not (segment.lo <= other.lo and other.hi <= segment.hi)
            for other in self._segments()
            if other.state == "ready"
        )


def _is_part(segment: Segment, job_id: uuid.UUID | None) -> bool:
    return segment.state == "built" and segment.job_id == job_id
