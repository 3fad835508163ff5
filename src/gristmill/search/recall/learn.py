"""Learns what a graph finds by its effort, and measures what searches find with the effort that is chosen."""

import time
import uuid
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection

from gristmill.core.prepared import execute
from gristmill.datasets.contract_parser import Contract
from gristmill.search.query.catalogue import Graphs
from gristmill.search.query.curve import EFS, KS, Curve, assumed
from gristmill.search.query.effort import Effort
from gristmill.search.query.settings import GRAPHS, Settings, with_settings
from gristmill.search.query.statements import Layout, Shape
from gristmill.search.query.vector import candidates, direction, taken, walk_order, within
from gristmill.search.recall.nearest import Queries, compared, nearest
from gristmill.search.recall.tally import Everywhere, Tally, Truth, share
from gristmill.search.repository import catalogue, curves
from gristmill.search.repository.catalogue import Ready
from gristmill.search.repository.recall import K

# Walks of one statement: so many, which together keep so many candidates (about 0.2 s). With a statement for each
# walk the session and the worker would wake each other up again and again, each time on the processor of a search.
_MOST_TOGETHER, _TOGETHER = 64, 5000
# The record that is searched by is left out, as in a search by likeness.
_NOT_ITSELF = "_id <> %(own)s"
# Of the time for learning, what comparing all records with the queries may take before the first walk.
_FOR_TRUTHS = 1 / 3


class OutOfTime(Exception):
    """The time for learning is used up; what was learnt is kept."""


class Replaced(Exception):
    """The segment was merged or dropped: there is nothing to learn of it any more."""


@dataclass(slots=True)
class Pace:
    """Calls ``check`` while work goes on, and lets searches have the machine in between.

    idle: seconds to rest for each second of work. seconds: of work, after which ``rest`` raises OutOfTime.
    burst: seconds of work between two rests. What works for 5 ms and rests for 25 is put again and again on the
    processor of what does not rest: the p99 of searches was 1.4 to 1.6 times as long. From 0.2 s on it was not.
    hurry: whether it is waited for; it does not rest then.
    """

    check: Callable[[], None] = lambda: None
    hurry: Callable[[], bool] = lambda: False
    idle: float = 0.0
    seconds: float = 60.0
    burst: float = 0.25
    sleep: Callable[[float], None] = time.sleep
    now: Callable[[], float] = time.monotonic
    _began: float = -1.0
    _worked: float = 0.0
    _rested: float = 0.0

    def __post_init__(self) -> None:
        self._began = self.now()

    def rest(self) -> None:
        now = self.now()
        self._worked += now - self._began
        self._began = now
        if self._worked > self.seconds:
            raise OutOfTime
        self.check()
        if self.idle and self._worked - self._rested >= self.burst:
            if not self.hurry():
                self.sleep((self._worked - self._rested) * self.idle)
            self._rested = self._worked
            self._began = self.now()

    @property
    def worked(self) -> float:
        """Seconds of work, rests left out."""
        return self._worked


@dataclass(frozen=True, slots=True)
class Recall:
    """value: the part of the ``k`` nearest that was found, over ``samples`` searches; 1 if there are no records."""

    value: float
    k: int
    samples: int


class Learner:
    """Learns the curves of one dataset's graphs. ``connection`` is in autocommit mode."""

    def __init__(self, connection: Connection, layout: Layout, dataset_id: uuid.UUID, pace: Pace) -> None:
        self._connection = connection
        self._layout = layout
        self._dataset_id = dataset_id
        self._pace = pace
        # How many curves were learnt and stored.
        self.learnt = 0

    @property
    def _contract(self) -> Contract:
        return self._layout.contract

    def learn(self, segments: Sequence[Ready], queries: Queries, *, every: bool) -> list[Truth]:
        """Learn and store the curves of segments; return of each one the ``K`` nearest.

        every: whether these are all segments of the dataset. Then it is learnt too what each contributes, unless
        comparing all records with the queries would take a third of the time for learning.
        Raises Replaced, OutOfTime.
        """
        # Of each segment: the truth, and the seconds of work that it took.
        read: list[tuple[Truth, float]] = []
        everywhere = None
        if every and len(segments) > 1:
            while len(read) < len(segments) and self._has_time(segments, len(read)):
                read.append(self._truth(segments[len(read)], queries))
            if len(read) == len(segments):
                everywhere = Everywhere([truth for truth, _ in read], sum(segment.rows for segment in segments))
        for place, segment in enumerate(segments):
            if place == len(read):
                read.append(self._truth(segment, queries))
            truth, seconds = read[place]
            began = self._pace.worked
            curve = self._curve(segment, queries, truth, everywhere)
            seconds += self._pace.worked - began
            curves.store_curve(self._connection, segment.id, curve.as_json(), seconds * 1000)
            self.learnt += 1
        return [[row[:K] for row in truth] for truth, _ in read]

    def _has_time(self, segments: Sequence[Ready], done: int) -> bool:
        """Say whether the next truth is had within the time for all: else as many curves as possible are worth more."""
        before = sum(segment.rows for segment in segments[:done])
        expected = self._pace.worked * segments[done].rows / before if before else 0.0
        return self._pace.worked + expected <= self._pace.seconds * _FOR_TRUTHS

    def _truth(self, segment: Ready, queries: Queries) -> tuple[Truth, float]:
        """Return the ``KS[-1]`` nearest of a graph, and the seconds of work that this took."""
        began = self._pace.worked
        found = nearest(self._connection, self._contract, queries, within(segment.range), KS[-1], self._pace.rest)
        # Those of all segments are kept for a while: a quarter of what lists take.
        return [array("d", distances) for distances in found], self._pace.worked - began

    def _curve(self, segment: Ready, queries: Queries, truth: Truth, everywhere: Everywhere | None) -> Curve:
        tally = Tally(segment, truth, everywhere)
        walk_ms: list[float] = []
        for ef in EFS:
            # Without its index a walk would compare all records, and take long to learn nothing.
            if not catalogue.is_ready(self._connection, segment.id):
                raise Replaced
            chosen = tally.sample(ef)
            found, ms = self._walks(segment, [queries.texts[query] for query in chosen], ef)
            walk_ms.append(ms)
            tally.add(ef, chosen, found)
        return tally.curve(queries, walk_ms)

    def _walks(self, segment: Ready, vectors: Sequence[str], ef: int) -> tuple[list[list[float]], float]:
        """Return the distances that the walk of each vector finds, in its order, and how long one took (ms)."""
        # With a small graph the planner might compare all records for so many of them: a search would not.
        settings = with_settings({**GRAPHS, "hnsw.ef_search": ef, "enable_sort": "off"}, "")
        by, together = compared(self._contract), min(_MOST_TOGETHER, max(1, _TOGETHER // ef))
        rounded = direction("q.vector", self._layout.dimensions)
        order = walk_order(self._contract, segment.range, "q.vector", rounded)
        limit = min(ef, taken(segment.range, KS[-1], ef))
        found: list[list[float]] = []
        took_ms: list[float] = []
        for first in range(0, len(vectors), together):
            part = list(vectors[first : first + together])
            began = time.perf_counter()
            found += by.walks(self._connection, settings, part, within(segment.range), order, limit)
            took_ms.append((time.perf_counter() - began) * 1000 / len(part))
            self._pace.rest()
        return found, float(np.median(took_ms))

    def assume(self, segment: Ready) -> None:
        """Store what is typical of such a graph, unless more is known; it is tried again when much has changed."""
        curve, worked_ms = assumed(segment.rows).as_json(), self._pace.worked * 1000
        curves.store_curve(self._connection, segment.id, curve, worked_ms, replace=False)

    def measure(self, target: float, queries: Queries, truths: Sequence[Truth]) -> Recall:
        """Compare what searches find with ``truths``: of each part of the records, of each query, the nearest."""
        graphs = Graphs(catalogue.ready_segments(self._connection, self._dataset_id))
        if not graphs.graphs:
            return Recall(1.0, K, 0)
        effort = graphs.effort(target, K)
        if graphs.is_compared(effort, self._layout.vector_bytes):
            return Recall(1.0, K, len(queries.texts))
        settings = {**GRAPHS, "hnsw.ef_search": effort.ef}
        shares = []
        for query, (text, own) in enumerate(zip(queries.texts, queries.own, strict=True)):
            truth = sorted(distance for part in truths for distance in part[query])[:K]
            if truth:
                shares.append(share(self._search(effort, settings, own, text), truth))
            self._pace.rest()
        return Recall(float(np.mean(shares)) if shares else 1.0, K, len(shares))

    def _search(self, effort: Effort, settings: Settings, own: int, vector: str) -> list[float]:
        """Return the distances of the K nearest, in order, by the statement that searches use."""
        sql = with_settings(settings, self._layout.statement(Shape("vector", effort.ranges, where=_NOT_ITSELF)))
        wanted = [taken(one, K, one.ef or effort.ef) for one in effort.ranges]
        values = {"query": vector, "k": K, "limit": K, "size": K, "own": own, **candidates(effort.ranges, wanted, K)}
        rows = execute(self._connection, values, sql)
        # The last three columns are the distance and two counts; without any record there is a row of nulls.
        return [float(row[-3]) for row in rows if row[-3] is not None]
