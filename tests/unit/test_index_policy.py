"""What is built next: a pure function of the segments, gaps and tail of a dataset."""

import dataclasses
import itertools
import math
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.search.index.graph import GraphParameters, Size, memory_for, most_rows
from gristmill.search.index.policy import BuildStep, IndexState, Piece, Policy, most_of_tail, next_step
from gristmill.search.index.progress import fraction_of
from gristmill.search.repository.catalogue import Segment
from gristmill.search.repository.searchable import Searchable

DEFAULT = (Size(0, 1, GraphParameters()),)
POLICY = Policy(seal_rows=1000, most_rows=100_000, min_rows=100)


def piece(lo: int, rows: int, built: int | None = None) -> Piece:
    """A segment of as many numbers as it was built of, ``rows`` of which still are records."""
    built = rows if built is None else built
    segment = Segment(lo, uuid.UUID(int=1), lo, lo + built, f"seg{lo}", "ready", built)
    return Piece(lo, lo + built, rows, built, segment)


def survey(*rows: int | tuple[int, int], tail: int = 0) -> IndexState:
    """Segments one after the other: rows, or (rows that are left, rows at the build)."""
    pieces: list[Piece] = []
    start = 1
    for given_rows in rows:
        live, built = (given_rows, given_rows) if isinstance(given_rows, int) else given_rows
        pieces.append(piece(start, live, built))
        start += built
    return IndexState(tuple(pieces), start, tail)


def step(found: IndexState, policy: Policy = POLICY, needed: int = 1000, loading: bool = False) -> BuildStep | None:
    return next_step(found, policy, needed, loading)


class TestTail:
    def test_a_short_tail_is_left_alone(self) -> None:
        assert step(survey(tail=999)) is None

    def test_a_tail_takes_in_segments_that_are_at_most_twice_as_large(self) -> None:
        found = step(survey(7000, 1500, tail=1000))
        assert found is not None
        assert (found.kind, found.lo, found.hi, found.rows, found.cut) == ("seal", 7001, None, 2500, None)
        found = step(survey(7000, 2100, tail=1000))
        assert found is not None
        assert (found.lo, found.rows) == (9101, 1000)

    def test_what_counts_is_the_records_that_are_left(self) -> None:
        found = step(survey((0, 50_000), tail=1000))
        assert found is not None
        assert (found.lo, found.rows) == (1, 1000)

    def test_a_graph_that_would_not_fit_the_memory_is_not_made(self) -> None:
        found = step(survey(1500, tail=1000), Policy(1000, 2000, 100))
        assert found is not None
        assert (found.lo, found.rows) == (1501, 1000)

    def test_a_long_tail_is_sealed_alone_and_in_parts_that_grow_with_what_is_sealed(self) -> None:
        parts, sealed, tail = [], [], 80_000
        while tail >= 1000:
            found = step(survey(*sealed, tail=tail))
            assert found is not None
            assert found.kind == "seal"
            if found.cut is None:
                break
            parts.append(found.cut)
            sealed.append(found.cut)
            tail -= found.cut
        assert parts == [5000, 5000, 10_000, 20_000]

    def test_while_a_load_goes_on_parts_stay_small_and_nothing_else_is_done(self) -> None:
        found = step(survey(40_000, 40_000, tail=30_000), loading=True)
        assert found is not None
        assert (found.lo, found.cut) == (80_001, 5000)
        assert step(survey(1000, 1000, 1000, tail=10), loading=True) is None
        assert step(survey((10, 9000), tail=10), loading=True) is None

    def test_no_part_exceeds_the_memory(self) -> None:
        assert most_of_tail(survey(90_000), Policy(1000, 3000, 100), loading=False) == 3000


class TestMending:
    def test_segments_of_similar_size_are_merged(self) -> None:
        found = step(survey(5000, 5000, 10_000, 20_000, 40_000))
        assert found is not None
        assert (found.kind, found.lo, found.hi, found.rows) == ("merge", 1, 80_001, 80_000)

    def test_a_large_segment_is_not_built_anew_for_a_small_one(self) -> None:
        assert step(survey(40_000, 1500)) is None

    def test_as_many_as_fit_the_memory_are_merged(self) -> None:
        found = step(survey(*[30_000] * 5))
        assert found is not None
        assert (found.kind, found.rows) == ("merge", 90_000)

    def test_a_segment_that_is_half_dead_is_built_anew(self) -> None:
        assert step(survey(40_000, (5001, 10_000))) is None
        found = step(survey(40_000, (5000, 10_000)))
        assert found is not None
        assert (found.kind, found.lo, found.hi, found.rows) == ("rebuild", 40_001, 50_001, 5000)

    def test_a_segment_of_which_hardly_anything_is_left_is_given_up(self) -> None:
        found = step(survey(40_000, (99, 10_000)))
        assert found is not None
        assert (found.kind, found.lo, found.hi) == ("retire", 40_001, 50_001)

    def test_what_was_built_in_haste_is_built_anew_when_there_is_nothing_else_to_do(self) -> None:
        found = step(survey(40_000, tail=3000), needed=1000)
        assert found is not None
        assert found.quick
        quick = dataclasses.replace(piece(1, 3000), quick=True)
        found = step(IndexState((quick,), 3001, 0))
        assert found is not None
        assert (found.kind, found.quick, found.lo, found.hi) == ("rebuild", False, 1, 3001)
        assert step(IndexState((quick,), 3001, 999), loading=True) is None

    def test_a_gap_gets_an_index_if_it_is_worth_one(self) -> None:
        gap = Piece(1001, 2001, 1000, 0, None)
        found = step(IndexState((piece(1, 1000), gap, piece(2001, 9000)), 11_001, 0))
        assert found is not None
        assert (found.kind, found.lo, found.hi) == ("rebuild", 1001, 2001)
        small = Piece(1001, 2001, 99, 0, None)
        assert step(IndexState((piece(1, 1000), small, piece(2001, 9000)), 11_001, 0)) is None


@given(st.lists(st.integers(1, 200_000), min_size=1, max_size=60))
def test_segments_stay_few_and_rows_are_not_built_in_without_end(loads: list[int]) -> None:
    """Carry out every step after every load."""
    sizes: list[int] = []
    written = built = tail = 0
    for load in loads:
        tail += load
        written += load
        while (found := step(survey(*sizes, tail=tail), needed=100)) is not None:
            assert found.rows <= POLICY.most_rows
            built += found.rows
            edges = [1 + sum(sizes[:place]) for place in range(len(sizes) + 1)]
            first = edges.index(found.lo)
            if found.kind == "seal":
                taken = found.cut if found.cut is not None else tail
                assert sum(sizes[first:]) + taken == found.rows
                sizes[first:] = [found.rows]
                tail -= taken
            else:
                last = edges.index(found.hi or 0)
                assert (found.kind, sum(sizes[first:last])) == ("merge", found.rows)
                sizes[first:last] = [found.rows]
    assert sum(sizes) + tail == written
    for first, second in itertools.pairwise(sizes):
        assert first + second > POLICY.most_rows or max(first, second) > 2 * min(first, second)
    # Each time that a row is built in again its segment is half as large again as before, or one of the smaller ones.
    assert built <= written * (2 + 2 * math.log(POLICY.most_rows / POLICY.min_rows, 1.5))


class TestMemory:
    @pytest.mark.parametrize("storage", ["vector", "halfvec"])
    def test_what_fits_the_memory_is_given_as_much_and_no_more(self, storage: str) -> None:
        dataset = Searchable("d", "ready", "cosine", 256, storage)
        most = most_rows(dataset, 512, DEFAULT)
        assert memory_for(dataset, GraphParameters(), most, 512) in (511, 512)
        assert memory_for(dataset, GraphParameters(), most // 2, 512) < 300
        assert memory_for(dataset, GraphParameters(), 10, 512) == 64

    def test_half_precision_holds_more_rows(self) -> None:
        plain, half = (Searchable("d", "ready", "l2", 256, storage) for storage in ("vector", "halfvec"))
        assert most_rows(half, 512, DEFAULT) > 1.3 * most_rows(plain, 512, DEFAULT)
        # Of the metric cosine graphs hold directions, whatever the column holds.
        directions = Searchable("d", "ready", "cosine", 256, "vector")
        assert most_rows(directions, 512, DEFAULT) == most_rows(half, 512, DEFAULT)


class TestProgress:
    def test_it_only_grows_through_the_phases(self) -> None:
        phases = [
            ("initializing", 0),
            ("waiting for writers before build", 0),
            ("building index", 0),
            ("building index: loading tuples", 50),
            ("building index: loading tuples", 100),
            ("waiting for writers before validation", 100),
            ("index validation: scanning index", 100),
            ("index validation: scanning table", 100),
            ("waiting for old snapshots", 100),
        ]
        shown = [fraction_of({"phase": phase, "tuples_done": done}, 100) for phase, done in phases]
        assert shown == sorted(shown)
        assert 0.4 < shown[3] < 0.6
        assert shown[-1] < 1
