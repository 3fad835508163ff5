"""What users see of an index: a summary in the dataset's body, and the plan report."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from gristmill.core.database import is_undefined_table
from gristmill.datasets.lookup import Dataset, scope_of
from gristmill.jobs.repository import scopes
from gristmill.kit.timestamps import rfc3339
from gristmill.search.index.expected import LEAST_ROWS, expected_seconds
from gristmill.search.index.graph import GraphParameters
from gristmill.search.index.policy import BuildStep, IndexState, next_step
from gristmill.search.index.progress import read_progress
from gristmill.search.index.settings import SETTLED_PART, BuildSettings, Limits, limits_of
from gristmill.search.index.state import read_index_state
from gristmill.search.index.tasks import scope_of as index_scope_of
from gristmill.search.index.tuning import efforts
from gristmill.search.query.catalogue import Graphs
from gristmill.search.repository import builds, catalogue, curves, holds, indexes, recall, record_ids
from gristmill.search.repository.catalogue import Segment
from gristmill.search.repository.searchable import Searchable, find_searchable

MAX_FAILURES = 5


def index_state(connection: Connection, dataset: Dataset) -> dict[str, Any]:
    """Return how much of the dataset has indexes: segments, sealed_rows, tail_rows, hold, building, recall."""
    segments = catalogue.all_segments(connection, dataset.id)
    ready = [segment for segment in segments if segment.state == "ready"]
    try:
        tail = record_ids.count_records(connection, dataset.name, ready[-1].hi if ready else 1)
        built = _building(connection, dataset.name, segments)
    except ProgrammingError as error:
        if not is_undefined_table(error):
            raise
        tail, built = 0, None
    return {
        "segments": len(ready),
        "sealed_rows": sum(segment.rows for segment in ready),
        "tail_rows": tail,
        "hold": holds.is_held(connection, dataset.id),
        "building": built,
        "recall": recall_state(connection, dataset, bool(ready)),
    }


def recall_state(connection: Connection, dataset: Dataset, has_segments: bool) -> dict[str, Any] | None:
    """Return what the dataset's body shows; None if it has segments and nothing was measured yet."""
    assert dataset.contract.embedding is not None
    target = dataset.contract.embedding.recall_target
    if not has_segments:
        return {"value": 1.0, "k": recall.K, "target": target, "exact": True, "samples": 0, "measured_at": None}
    row = recall.find(connection, dataset.id)
    if row is None:
        return None
    shown = rfc3339(row.measured_at)
    value = round(row.value, 4) if row.samples else None
    told = {"value": value, "k": row.k, "target": target, "exact": False, "samples": row.samples}
    return {**told, "measured_at": shown}


def plan_report(connection: Connection, dataset: Dataset, settings: BuildSettings) -> dict[str, Any]:
    """Return every segment with what it holds and costs, what is due next and why, and what went wrong lately."""
    searchable = find_searchable(connection, dataset.id)
    assert searchable is not None
    limits = limits_of(connection, searchable, settings)
    found = read_index_state(connection, dataset.id, searchable, settings)
    segments = catalogue.all_segments(connection, dataset.id)
    facts = {row.name: row for row in indexes.index_facts(connection, [s.index_name for s in segments])}
    known = curves.curves_of(connection, dataset.id)
    held = holds.is_held(connection, dataset.id)
    expected = _Expected(connection, searchable, settings)
    building = _building(connection, dataset.name, segments)
    if building is not None:
        building["expected_seconds"] = expected.of_build(building["rows"], segments, facts)
    live = {piece.segment.id: piece for piece in found.pieces if piece.segment is not None}
    shown = []
    for segment in segments:
        piece, fact, curve = live.get(segment.id), facts.get(segment.index_name), known.get(segment.id)
        shown.append(
            {
                "index": segment.index_name,
                "state": segment.state,
                "first": segment.lo,
                "last": segment.hi - 1,
                "rows": None if piece is None else piece.live,
                "built_rows": segment.rows,
                "dead_share": None if piece is None else round(piece.dead_share, 4),
                "bytes": None if fact is None else fact.bytes,
                "storage": "halfvec" if segment.half_precision else searchable.storage,
                "parameters": {} if fact is None else fact.parameters,
                "built_at": rfc3339(segment.built_at),
                "job": None if segment.job_id is None else str(segment.job_id),
                "curve": None if curve is None else _shown(curve),
            }
        )
    pending = scopes.pending_records(connection, scope_of(dataset.name))
    measured = recall_state(connection, dataset, bool(live))
    return {
        "dataset": dataset.name,
        "segments": shown,
        "sealed_rows": found.sealed,
        "tail_rows": found.tail,
        "building": building,
        "next": _next(found, limits, settings, expected, loading=pending >= max(settings.seal_rows, 1)),
        "waits_for": _waits_for(settings, held, building, pending),
        "hold": held,
        "seal_rows": settings.seal_rows,
        "memory_mb": limits.memory_mb,
        "most_rows": limits.policy.most_rows,
        "recall": measured,
        **efforts(Graphs(catalogue.ready_segments(connection, dataset.id)), dataset, measured),
        "failures": scopes.failures(connection, index_scope_of(dataset.id), dataset.name, MAX_FAILURES),
    }


class _Expected:
    """How long builds of one dataset take."""

    def __init__(self, connection: Connection, dataset: Searchable, settings: BuildSettings) -> None:
        self._connection = connection
        self._dataset = dataset
        self._settings = settings
        self._last = builds.list_last(connection, LEAST_ROWS)

    def of_build(self, rows: int, segments: Sequence[Segment], facts: Mapping[str, Any]) -> float | None:
        """Return the seconds that the build which goes on takes in all."""
        segment = next(segment for segment in segments if segment.state == "building")
        fact = facts.get(segment.index_name)
        # Before its index is there, it is about to be built with what its size gets.
        parameters = self._settings.parameters_for(rows, self._dataset.dimensions)
        if fact is not None and {"m", "ef_construction"} <= fact.parameters.keys():
            parameters = GraphParameters(fact.parameters["m"], fact.parameters["ef_construction"])
        helpers = builds.find_helpers(self._connection, segment.id)
        return self._seconds(rows, parameters, self._settings.workers if helpers is None else helpers)

    def of_step(self, step: BuildStep, loading: bool) -> float | None:
        """Return the seconds that a step takes; None for one that builds nothing."""
        if step.kind == "retire":
            return None
        parameters = self._settings.parameters_for(step.rows, self._dataset.dimensions, step.quick)
        return self._seconds(step.rows, parameters, 0 if loading else self._settings.workers)

    def _seconds(self, rows: int, parameters: GraphParameters, helpers: int) -> float | None:
        dataset = self._dataset
        found = expected_seconds(rows, dataset.dimensions, dataset.graph_storage, parameters, helpers, self._last)
        return None if found is None else round(found, 1)


def _shown(known: Any) -> dict[str, Any]:
    """Return a curve as it is shown; a version before has stored none of its contribution."""
    return {"contribution": None, **known.curve, "learnt_at": rfc3339(known.learnt_at)}


def _next(
    found: IndexState, limits: Limits, settings: BuildSettings, expected: _Expected, loading: bool
) -> dict[str, Any] | None:
    """Return the step that is due once nothing is written any more; None if there is none."""
    needed = max(settings.min_rows, settings.seal_rows // (1 if loading else SETTLED_PART))
    step = next_step(found, limits.policy, needed, loading) if settings.seal_rows else None
    if step is None:
        return None
    shown = {"step": step.kind, "first": step.lo, "rows": step.rows, "why": step.why}
    return {**shown, "expected_seconds": expected.of_step(step, loading)}


def _waits_for(settings: BuildSettings, held: bool, building: Any, pending: int) -> str | None:
    if not settings.seal_rows:
        return "seal_rows is 0: nothing is built but by a rebuild"
    if held:
        return "the builds of this dataset are held back"
    if building is not None:
        return "a build is running"
    return f"{pending} records are still to be written" if pending >= settings.seal_rows else None


def _building(connection: Connection, table: str, segments: Sequence[Segment]) -> dict[str, Any] | None:
    """Return the build that goes on: job, phase, fraction of its index, rows; None if there is none."""
    for segment in segments:
        if segment.state == "building":
            rows = record_ids.count_records(connection, table, segment.lo, segment.hi)
            found = read_progress(connection, segment.index_name, rows)
            return {
                "job": None if segment.job_id is None else str(segment.job_id),
                # No index of that name is being built at this moment: its builder begins, ends or was lost.
                "phase": "waiting" if found is None else found.phase,
                "fraction": 0.0 if found is None else round(found.fraction, 4),
                "rows": rows,
            }
    return None
