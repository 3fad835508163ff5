"""What to build next: a pure function of the state of a dataset's index. Scheduler, builder and report share it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from gristmill.search.repository.catalogue import Segment

# Fewer rows are scanned faster than a graph of them is walked.
MIN_ROWS = 1000
# A search walks each segment's graph; merging more eagerly saves searches time and costs builds.
MERGE_FACTOR = 2
# A graph keeps the nodes of records that were replaced or deleted, and searches still visit them. It is built again
# when half of its nodes are dead, so each dead record costs at most one insertion into a new graph.
DEAD_SHARE = 0.5
# In multiples of seal_rows: what one build takes of a long tail, and the longest tail that still takes in the segments
# before it: with a longer one, what matters is that it gets short.
FIRST_PART = 5
LONGEST_MERGING_TAIL = 2

Kind = Literal["seal", "merge", "rebuild", "retire"]


@dataclass(frozen=True, slots=True)
class Policy:
    """When something is due. most_rows: rows whose graph fits the memory of a build."""

    seal_rows: int
    most_rows: int
    min_rows: int = MIN_ROWS


@dataclass(frozen=True, slots=True)
class Piece:
    """A sealed range, or a gap between two (segment None). live: its records now; built: those of its graph.

    quick: its graph was built quickly, with fewer candidates.
    """

    lo: int
    hi: int
    live: int
    built: int
    segment: Segment | None
    quick: bool = False

    @property
    def dead_share(self) -> float:
        """The share of the graph whose records were replaced or deleted."""
        return 0.0 if self.segment is None or not self.built else max(0.0, 1 - self.live / self.built)


@dataclass(frozen=True, slots=True)
class IndexState:
    """A dataset's index as it is now. pieces: without holes, in order; tail: records from ``start`` on, maybe cut."""

    pieces: tuple[Piece, ...]
    start: int
    tail: int

    @property
    def sealed(self) -> int:
        return sum(piece.live for piece in self.pieces if piece.segment is not None)


@dataclass(frozen=True, slots=True)
class BuildStep:
    """What is due: an index over [lo, hi); rows: how many it will hold.

    seal: hi is None, the end being that of the tail, or where the first ``cut`` records of it end. retire: the segments
    within the range are given up, as too few of their records are left. quick: it is built quickly, with fewer
    candidates.
    """

    kind: Kind
    lo: int
    hi: int | None
    rows: int
    why: str
    cut: int | None = None
    quick: bool = False


def next_step(found: IndexState, policy: Policy, needed: int, loading: bool = False) -> BuildStep | None:
    """Return what to build next, or None. needed: rows that make the tail due.

    The tail comes first. While a load goes on nothing else is done, and builds are short: the load needs the machine.
    """
    if found.tail >= max(needed, 1):
        return _seal(found, policy, needed, loading)
    return None if loading else _mend(found, policy)


def most_of_tail(found: IndexState, policy: Policy, loading: bool) -> int:
    """Return how many rows of the tail one build takes: as many as are sealed already, so that segments stay few."""
    part = FIRST_PART * policy.seal_rows
    return max(1, min(policy.most_rows, part if loading else max(part, found.sealed)))


def _seal(found: IndexState, policy: Policy, needed: int, loading: bool) -> BuildStep:
    most = most_of_tail(found, policy, loading)
    if found.tail > most:
        return BuildStep(
            "seal", found.start, None, most, f"the tail has more than {most} records", cut=most, quick=True
        )
    lo = found.start
    quick = loading or found.tail > LONGEST_MERGING_TAIL * policy.seal_rows
    if not quick:
        lo = merge_from(found.pieces, found.tail, policy.most_rows, found.start)
    taken = sum(piece.live for piece in found.pieces if piece.lo >= lo)
    why = f"the tail has at least {needed} records"
    why += f"; takes in {taken} before it" if taken else ""
    return BuildStep("seal", lo, None, found.tail + taken, why, quick=quick)


def merge_from(pieces: Sequence[Piece], tail: int, most: int, start: int) -> int:
    """Return the first ``_id`` of the new segment, which takes in those before it that hold up to twice its own rows.

    The number of segments, and how often a row is built in again, thus grow with the logarithm of all rows (O'Neil et
    al., The log-structured merge-tree, 1996). most: rows that the new segment may have.
    """
    rows, lo = tail, start
    for piece in reversed(pieces):
        if piece.live > MERGE_FACTOR * rows or rows + piece.live > most:
            break
        rows += piece.live
        lo = piece.lo
    return lo


def _mend(found: IndexState, policy: Policy) -> BuildStep | None:
    """Return the merge that removes most segments, else what is mostly dead, has no graph, or was built quickly."""
    merges = list(_merges(found.pieces, policy.most_rows))
    if merges:
        # Of those that remove as many, the cheapest.
        count, rows, first, last = max(merges, key=lambda merge: (merge[0], -merge[1]))
        lo, hi = found.pieces[first].lo, found.pieces[last].hi
        return BuildStep("merge", lo, hi, rows, f"{count} segments fit one graph")
    for piece in found.pieces:
        if piece.segment is None:
            if policy.min_rows <= piece.live <= policy.most_rows:
                return BuildStep("rebuild", piece.lo, piece.hi, piece.live, "a sealed range has no index")
        elif piece.dead_share >= DEAD_SHARE:
            if piece.live < policy.min_rows:
                return BuildStep(
                    "retire", piece.lo, piece.hi, piece.live, f"only {piece.live} records of a segment are left"
                )
            why = f"{piece.dead_share:.0%} of a segment are dead"
            return BuildStep("rebuild", piece.lo, piece.hi, piece.live, why)
    for piece in found.pieces:
        if piece.quick and piece.live <= policy.most_rows:
            return BuildStep("rebuild", piece.lo, piece.hi, piece.live, "a segment was built in haste")
    return None


def _merges(pieces: Sequence[Piece], most: int) -> Iterator[tuple[int, int, int, int]]:
    """Yield (segments, rows, first, last) of every run of pieces that may become one segment."""
    for first in range(len(pieces)):
        rows = largest = count = 0
        for last in range(first, len(pieces)):
            rows += pieces[last].live
            if rows > most:
                break
            largest = max(largest, pieces[last].live)
            count += pieces[last].segment is not None
            if count > 1 and largest <= MERGE_FACTOR * (rows - largest):
                yield count, rows, first, last
