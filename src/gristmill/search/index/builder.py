"""Carries out what the policy says is due for a dataset's index, and rebuilds of everything."""

import contextlib
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from gristmill.core.database import Database, is_undefined_table, set_time_limit
from gristmill.core.logs import get_logger
from gristmill.datasets.index_session import Check, open_session
from gristmill.datasets.lookup import DROPPED
from gristmill.jobs.errors import JobDropped
from gristmill.search.index import graph
from gristmill.search.index.graph import GraphParameters
from gristmill.search.index.policy import BuildStep, IndexState, most_of_tail, next_step
from gristmill.search.index.progress import ProgressReport
from gristmill.search.index.segment_builder import SegmentBuilder
from gristmill.search.index.settings import BuildSettings, Limits, limits_of
from gristmill.search.index.state import read_index_state
from gristmill.search.index.warm import IndexWarmer
from gristmill.search.repository import catalogue, record_ids
from gristmill.search.repository.catalogue import Range, Segment
from gristmill.search.repository.searchable import Searchable

log = get_logger()
Report = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class _Work:
    """One dataset under its build lock."""

    maker: SegmentBuilder
    dataset: Searchable
    limits: Limits
    progress: ProgressReport
    check: Check


class IndexBuilder:
    """Builds the indexes of datasets. Any number may run: one dataset is built by one at a time."""

    def __init__(
        self, database: Database, settings: BuildSettings | None = None, warmer: IndexWarmer | None = None
    ) -> None:
        self._database = database
        self._settings = settings or BuildSettings()
        self._warmer = warmer or IndexWarmer(database)

    def build(
        self,
        dataset_id: uuid.UUID,
        job_id: uuid.UUID,
        check: Check,
        *,
        needed: int | None = None,
        loading: bool = False,
        report: Report = lambda fraction: None,
    ) -> dict[str, Any]:
        """Do the one step that is due now and return what was done: step, why, rows, index, adopted.

        needed: rows that make the tail due. loading: the dataset is being loaded. An index that an earlier attempt has
        left is adopted if it is valid, else removed. ``check`` is called at least every second; what it raises ends the
        build. Raises JobDropped, IndexBuildInterrupted (retryable).
        """
        with self._work(dataset_id, check, report) as work:
            done: dict[str, Any] = {"adopted": work.maker.remove_leftovers(), "rows": 0}
            needed = self._settings.min_rows if needed is None else needed
            found = self._read_state(work, dataset_id, needed, loading)
            step = next_step(found, work.limits.policy, needed, loading)
            if step is None:
                return done
            done |= {"step": step.kind, "why": step.why}
            if step.hi is not None and step.kind == "retire":
                with self._database.transaction() as connection:
                    catalogue.retire(connection, dataset_id, step.lo, step.hi)
            else:
                segment = self._begin(work, dataset_id, job_id, found, step)
                parameters = self._settings.parameters_for(step.rows, work.dataset.dimensions, step.quick)
                self._make(work, segment, step.rows, parameters, 0 if loading else self._settings.workers)
                done |= {"index": segment.index_name, "rows": work.maker.finish(work.dataset, segment)}
            self._let_searches_follow(work, dataset_id)
            work.maker.remove_leftovers()
        log.info("segment.ready", dataset=work.dataset.name, **done)
        return done

    def rebuild(
        self, dataset_id: uuid.UUID, job_id: uuid.UUID, check: Check, *, report: Report = lambda fraction: None
    ) -> dict[str, Any]:
        """Build new indexes over everything, then put them in the place of all others at once; return what was done.

        Each holds as many records as fit the memory of a build. Parts that an earlier attempt of the job has built are
        kept. Raises as ``build`` does.
        """
        with self._work(dataset_id, check, report) as work:
            work.maker.remove_leftovers(keep=job_id)
            with self._database.transaction() as connection:
                set_time_limit(connection, 0)
                end = _end_of_table(connection, work.dataset.name)
                total = record_ids.count_records(connection, work.dataset.name, 1, end)
                built = [s for s in catalogue.all_segments(connection, dataset_id) if s.state == "built"]
            work.progress.expect(total, sum(part.rows for part in built))
            parts = -(-total // max(work.limits.policy.most_rows, 1))
            while total >= self._settings.min_rows:
                segment, rows = self._next_part(work, dataset_id, job_id, end, -(-total // parts))
                if segment is None:
                    break
                parameters = self._settings.parameters_for(rows, work.dataset.dimensions)
                self._make(work, segment, rows, parameters, self._settings.workers)
                work.maker.finish_part(work.dataset, segment)
            work.maker.warm_parts()
            with self._database.transaction() as connection:
                built = [s for s in catalogue.all_segments(connection, dataset_id) if s.state == "built"]
                if built and catalogue.swap(connection, dataset_id, job_id, end) != len(built):
                    raise JobDropped(DROPPED)
            self._let_searches_follow(work, dataset_id)
            work.maker.remove_leftovers()
        log.info("index.rebuilt", dataset=work.dataset.name, segments=len(built))
        return {"rows": sum(part.rows for part in built), "segments": len(built)}

    @contextlib.contextmanager
    def _work(self, dataset_id: uuid.UUID, check: Check, report: Report) -> Iterator[_Work]:
        progress = ProgressReport(self._database, report)

        def tick() -> None:
            check()
            progress.tick()

        with (
            _dropped_ends_the_job(),
            open_session(self._database, dataset_id, tick, self._settings.check_every) as session,
        ):
            maker = SegmentBuilder(
                self._database, session, dataset_id, progress, lambda names: self._warmer.warm(names, tick)
            )
            dataset = maker.dataset()
            with self._database.autocommit() as connection:
                limits = limits_of(connection, dataset, self._settings)
            yield _Work(maker, dataset, limits, progress, tick)

    def _let_searches_follow(self, work: _Work, dataset_id: uuid.UUID) -> None:
        """Wait until no search goes by segments that were replaced, before their indexes are dropped.

        Searches read the catalogue once a second. One that goes by an index that is gone compares all of its records.
        """
        with self._database.autocommit() as connection:
            replaced = any(s.state == "dropping" for s in catalogue.all_segments(connection, dataset_id))
        until = time.monotonic() + (self._settings.grace_seconds if replaced else 0)
        while time.monotonic() < until:
            work.check()
            time.sleep(min(0.1, self._settings.grace_seconds))

    def _read_state(self, work: _Work, dataset_id: uuid.UUID, needed: int, loading: bool) -> IndexState:
        with self._database.transaction() as connection:
            set_time_limit(connection, 0)
            found = read_index_state(connection, dataset_id, work.dataset, self._settings, needed)
            # Whether the tail holds more than one build takes is all that has to be known of a longer one.
            most = max(most_of_tail(found, work.limits.policy, loading), needed) + 1
            return replace(found, tail=record_ids.count_records(connection, work.dataset.name, found.start, limit=most))

    def _begin(
        self, work: _Work, dataset_id: uuid.UUID, job_id: uuid.UUID, found: IndexState, step: BuildStep
    ) -> Segment:
        """Enter the segment of a step into the catalogue, before its index exists."""
        name = work.dataset.name
        with self._database.transaction() as connection:
            set_time_limit(connection, 0)
            hi = step.hi
            if step.cut is not None:
                hi = record_ids.id_after(connection, name, found.start, step.cut)
            hi = _end_of_table(connection, name) if hi is None else hi
            range_ = Range(step.lo, hi, graph.held_step(step.rows, hi - step.lo), work.dataset.half_precision)
            return catalogue.insert_building(connection, dataset_id, name, range_, job_id)

    def _next_part(
        self, work: _Work, dataset_id: uuid.UUID, job_id: uuid.UUID, end: int, rows: int
    ) -> tuple[Segment | None, int]:
        """Enter the next part of a rebuild into the catalogue; None if the parts reach the end."""
        name = work.dataset.name
        with self._database.transaction() as connection:
            set_time_limit(connection, 0)
            done = [s.hi for s in catalogue.all_segments(connection, dataset_id) if s.state == "built"]
            lo = max(done, default=1)
            if lo >= end:
                return None, 0
            hi = min(end, record_ids.id_after(connection, name, lo, rows) or end)
            range_ = Range(lo, hi, graph.held_step(rows, hi - lo), work.dataset.half_precision)
            return catalogue.insert_building(connection, dataset_id, name, range_, job_id), rows

    def _make(self, work: _Work, segment: Segment, rows: int, parameters: GraphParameters, workers: int) -> None:
        log.info("segment.building", dataset=work.dataset.name, index=segment.index_name, lo=segment.lo, hi=segment.hi)
        work.maker.make(work.dataset, segment, rows, parameters, work.limits.memory_mb, workers)


def _end_of_table(connection: Connection, table: str) -> int:
    """Return the ``_id`` after the last one.

    The last one that was drawn, not the last one visible: CREATE INDEX CONCURRENTLY waits for transactions that hold
    smaller ones, so that nobody has to insert into the graph afterwards.
    """
    return 1 + max(record_ids.last_drawn_id(connection, table), record_ids.highest_id(connection, table))


@contextlib.contextmanager
def _dropped_ends_the_job() -> Iterator[None]:
    """Raise JobDropped where a statement finds the table gone."""
    try:
        yield
    except ProgrammingError as error:
        if not is_undefined_table(error):
            raise
        raise JobDropped(DROPPED) from error
