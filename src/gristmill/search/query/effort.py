"""How far a search looks: the effort of each walk that a target of recall needs, and the recall to expect of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gristmill.search.query.curve import KS, Source
from gristmill.search.query.division import Graph, divided, expected
from gristmill.search.query.vector import MAX_EF, Ranges

# Of more than so many nearest no curve is measured: the effort grows in proportion then.
_LARGEST_K = KS[-1]
# A walk examines at most so many records, in rounds of ef.
MAX_VISITS = 20_000
# An effort that falls short of its target by less than this was rounded.
_CLOSE = 5e-4
# Where no walk reaches the target, all records are compared if their vectors have at most so many bytes, which takes
# about 100 ms.
MOST_COMPARED = 256 * 1024 * 1024
_ORDER: tuple[Source, ...] = ("assumed", "records", "queries")


@dataclass(frozen=True, slots=True)
class Effort:
    """What a search does with the graphs.

    ranges: the walks, with the ef of each where these differ. ef: the largest of them. visits: records that the walk
    of each range examines. expected: the recall to expect. source: what it is known from, of all graphs the weakest.
    reached: whether it is the target.
    """

    ranges: Ranges
    ef: int
    visits: tuple[int, ...]
    expected: float
    source: Source
    reached: bool

    @property
    def largest(self) -> int:
        return max(self.visits)

    @property
    def written(self) -> str:
        """The effort as a text, for ``repeated``."""
        return ",".join(map(str, self.visits))


def effort_for(graphs: Sequence[Graph], target: float, k: float, *, filtered: bool = False) -> Effort:
    """Return the least effort whose recall of the ``k`` nearest is ``target``.

    k: with a filter, of how many nearest records k are expected to match. filtered: whether there is one. It may keep
    records of one graph alone: then each graph is walked so far that the target's share of what it holds is found.
    """
    measured = min(k, _LARGEST_K)
    efs = None if filtered or len(graphs) == 1 else divided(graphs, target, measured)
    if efs is None:
        efs = [graph.curve.effort(target, measured) or MAX_EF for graph in graphs]
    # Beyond what is measured the effort is in proportion to k.
    visits = [min(MAX_VISITS, max(math.ceil(ef * k / measured), math.ceil(k))) for ef in efs]
    return _walking(graphs, visits, target, k, filtered)


def _walking(graphs: Sequence[Graph], visits: Sequence[int], target: float, k: float, filtered: bool) -> Effort:
    efs = [min(MAX_EF, most) for most in visits]
    highest = max(efs)
    # What one walk sets holds for those after it: as soon as one differs, each sets its own.
    differ = min(efs) < highest
    ranges = tuple(graph.range._replace(ef=ef if differ else 0) for graph, ef in zip(graphs, efs, strict=True))
    return _expecting(graphs, ranges, highest, visits, k, target, filtered=filtered)


def repeated(graphs: Sequence[Graph], visits: str, target: float, k: float, *, filtered: bool = False) -> Effort | None:
    """Return the effort that ``written`` wrote, whatever is known by now; None if it is none for these graphs."""
    parts = visits.split(",")
    # Tokens are not signed: five digits are what any effort has.
    if len(parts) != len(graphs) or not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in parts):
        return None
    numbers = [int(part) for part in parts]
    if not all(1 <= number <= MAX_VISITS for number in numbers):
        return None
    return replace(_walking(graphs, numbers, target, k, filtered), reached=True)


def effort_by_hand(graphs: Sequence[Graph], ef: int, k: float, *, filtered: bool = False) -> Effort:
    """Return what walking every graph with ``ef`` comes to."""
    visits = min(MAX_VISITS, max(ef, math.ceil(k)))
    ranges = tuple(graph.range for graph in graphs)
    return _expecting(graphs, ranges, ef, [visits] * len(graphs), k, filtered=filtered)


def _expecting(
    graphs: Sequence[Graph],
    ranges: Ranges,
    ef: int,
    visits: Sequence[int],
    k: float,
    target: float = 0.0,
    *,
    filtered: bool,
) -> Effort:
    measured = min(k, _LARGEST_K)
    recall = expected(graphs, [most * measured / k for most in visits], measured, by_rows=filtered)
    weakest = min((graph.curve.source for graph in graphs), key=_ORDER.index)
    return Effort(ranges, ef, tuple(visits), recall, weakest, recall >= target - _CLOSE)
