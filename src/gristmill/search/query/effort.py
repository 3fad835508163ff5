"""How far a search looks: the effort of each walk that a target of recall needs, and the recall to expect of it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gristmill.search.query.curve import KS, Curve, Source
from gristmill.search.query.vector import MAX_EF, Ranges
from gristmill.search.repository.catalogue import Range

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
class Graph:
    """A ready segment and what is known of its graph. rows: of the segment."""

    range: Range
    rows: int
    curve: Curve


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


def effort_for(graphs: Sequence[Graph], target: float, k: float) -> Effort:
    """Return the least effort whose recall of the ``k`` nearest is ``target``.

    k: with a filter, of how many nearest records k are expected to match. Each graph is walked so far that the target's
    share of what it holds is found: then the whole answer has it, however the nearest are spread over the graphs.
    """
    visits = [min(MAX_VISITS, max(math.ceil(_visits(graph.curve, target, k)), math.ceil(k))) for graph in graphs]
    return _walking(graphs, visits, target, k)


def _walking(graphs: Sequence[Graph], visits: Sequence[int], target: float, k: float) -> Effort:
    efs = [min(MAX_EF, most) for most in visits]
    highest = max(efs)
    # What one walk sets holds for those after it: as soon as one differs, each sets its own.
    differ = min(efs) < highest
    ranges = tuple(graph.range._replace(ef=ef if differ else 0) for graph, ef in zip(graphs, efs, strict=True))
    return _expecting(graphs, ranges, highest, visits, k, target)


def repeated(graphs: Sequence[Graph], visits: str, target: float, k: float) -> Effort | None:
    """Return the effort that ``written`` wrote, whatever is known by now; None if it is none for these graphs."""
    parts = visits.split(",")
    # Tokens are not signed: five digits are what any effort has.
    if len(parts) != len(graphs) or not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in parts):
        return None
    numbers = [int(part) for part in parts]
    if not all(1 <= number <= MAX_VISITS for number in numbers):
        return None
    return replace(_walking(graphs, numbers, target, k), reached=True)


def effort_by_hand(graphs: Sequence[Graph], ef: int, k: float) -> Effort:
    """Return what walking every graph with ``ef`` comes to."""
    visits = min(MAX_VISITS, max(ef, math.ceil(k)))
    return _expecting(graphs, tuple(graph.range for graph in graphs), ef, [visits] * len(graphs), k)


def _visits(curve: Curve, target: float, k: float) -> float:
    """Return how many candidates a walk needs. Beyond what is measured it is in proportion to k."""
    measured = min(k, _LARGEST_K)
    found = curve.effort(target, measured)
    return (MAX_EF if found is None else found) * k / measured


def _expecting(
    graphs: Sequence[Graph], ranges: Ranges, ef: int, visits: Sequence[int], k: float, target: float = 0.0
) -> Effort:
    measured = min(k, _LARGEST_K)
    recalls = [graph.curve.recall_at(most * measured / k, measured) for graph, most in zip(graphs, visits, strict=True)]
    rows = sum(graph.rows for graph in graphs) or 1
    expected = sum(recall * graph.rows for recall, graph in zip(recalls, graphs, strict=True)) / rows
    weakest = min((graph.curve.source for graph in graphs), key=_ORDER.index)
    return Effort(ranges, ef, tuple(visits), expected, weakest, expected >= target - _CLOSE)
