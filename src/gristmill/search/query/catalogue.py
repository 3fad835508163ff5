"""Which ranges of a dataset have a ready index, as searches see it: read from the catalogue at most once a second."""

import math
import uuid
from collections.abc import Sequence
from functools import lru_cache, partial

from sqlalchemy import Connection

from gristmill.kit.caches import SharedCache
from gristmill.search.query.curve import assumed, read_curve
from gristmill.search.query.division import Graph
from gristmill.search.query.effort import MOST_COMPARED, Effort, effort_by_hand, effort_for
from gristmill.search.repository import catalogue
from gristmill.search.repository.catalogue import Ready

MAX_CACHED = 10_000
# Efforts are worked out for values of k that are so far apart, each larger than the one before by this part.
_STEP = 0.05


class Graphs:
    """The ready segments of a dataset at one time."""

    def __init__(self, segments: Sequence[Ready]) -> None:
        self.graphs = tuple(
            Graph(one.range, one.rows, assumed(one.rows) if one.curve is None else read_curve(one.curve))
            for one in segments
        )
        self.rows = sum(one.rows for one in segments)
        self._effort = lru_cache(maxsize=256)(self._work_out)
        self._by_hand = lru_cache(maxsize=256)(partial(effort_by_hand, self.graphs))

    def effort(self, target: float, k: float, *, filtered: bool = False) -> Effort:
        """Return the effort that finds the share ``target`` of the ``k`` nearest, or of a few more."""
        return self._effort(target, math.ceil(math.log(max(k, 1)) / _STEP), filtered)

    def by_hand(self, ef: int, k: float, *, filtered: bool) -> Effort:
        """Return what walking every graph with ``ef`` comes to."""
        return self._by_hand(ef, k, filtered=filtered)

    def is_compared(self, effort: Effort, vector_bytes: int) -> bool:
        """Say whether every record is compared, as no walk reaches the target and there are few enough of them."""
        return not effort.reached and self.rows * vector_bytes <= MOST_COMPARED

    def _work_out(self, target: float, steps: int, filtered: bool) -> Effort:
        return effort_for(self.graphs, target, math.exp(steps * _STEP), filtered=filtered)


class Catalogue:
    """A cache per process. Answers may be ``seconds`` old, which costs time and never a record:

    what a new index covers is still scanned exactly, and a range whose index is gone is scanned instead.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self._known: SharedCache[uuid.UUID, Graphs] = SharedCache(MAX_CACHED, seconds)
        # What was read may be the same as a second ago: what was worked out of it is kept.
        self._read: SharedCache[uuid.UUID, tuple[tuple[Ready, ...], Graphs]] = SharedCache(MAX_CACHED)

    def ready(self, connection: Connection, dataset_id: uuid.UUID) -> Graphs:
        """Return the ready segments, in the order of their ranges."""
        known = self._known.get(dataset_id)
        if known is not None:
            return known
        segments = catalogue.ready_segments(connection, dataset_id)
        before = self._read.get(dataset_id)
        if before is None or before[0] != segments:
            before = self._read.put(dataset_id, (segments, Graphs(segments)))
        return self._known.put(dataset_id, before[1])
