"""Curves and efforts: what is between measured points, the least effort for a target, several graphs at once."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.search.query.curve import EFS, KS, Contribution, Curve, assumed, read_curve
from gristmill.search.query.division import Graph
from gristmill.search.query.effort import MAX_VISITS, effort_by_hand, effort_for, repeated
from gristmill.search.query.vector import MAX_EF
from gristmill.search.repository.catalogue import Range

TARGETS = st.floats(0.9, 0.999)
ROWS = st.integers(1000, 5_000_000)


@st.composite
def curves(draw: st.DrawFn) -> Curve:
    """Curves as measurements give them: noisy, not always rising, now and then 1 already at the least effort."""
    table = tuple(tuple(draw(st.lists(st.floats(0, 1), min_size=len(EFS), max_size=len(EFS)))) for _ in KS)
    errors = tuple(tuple(draw(st.lists(st.floats(0, 0.02), min_size=len(EFS), max_size=len(EFS)))) for _ in KS)
    share = draw(st.none() | st.floats(0, 1))
    contribution = None
    if share is not None:
        lost, spread = (tuple(tuple(share * one for one in row) for row in values) for values in (table, errors))
        contribution = Contribution((share,) * len(KS), lost, spread, draw(ROWS), draw(st.integers(1, 256)))
    queries = draw(st.integers(16, 256))
    return Curve(KS, EFS, table, errors, queries, "records", tuple(ef / 50 for ef in EFS), contribution)


def graph(rows: int, curve: Curve | None = None, lo: int = 1) -> Graph:
    return Graph(Range(lo, lo + rows), rows, curve or assumed(rows))


def recall_at(curve: Curve, ef: float, k: float) -> float:
    return 1 - float(curve.missed_at(np.array([ef]), k)[0][0])


class TestCurve:
    @given(curves(), st.floats(10, 300), TARGETS)
    def test_the_effort_for_a_target_is_expected_to_reach_it_and_a_smaller_one_is_not(
        self, curve: Curve, k: float, target: float
    ) -> None:
        ef = curve.effort(target, k)
        if ef is None:
            certain = replace(curve, error=tuple((0.0,) * len(EFS) for _ in KS))
            assert certain.effort(target, k) is None or curve.error != certain.error
            assert all(recall_at(certain, one, k) < target + 1e-9 for one in EFS) or certain.effort(target, k)
            return
        assert EFS[0] <= ef <= EFS[-1]
        assert recall_at(curve, ef, k) >= target - 1e-9

    @given(curves(), st.floats(10, 300), st.floats(20, 1000), st.floats(20, 1000))
    def test_more_effort_is_never_expected_to_find_less(self, curve: Curve, k: float, one: float, other: float) -> None:
        low, high = sorted((one, other))
        assert recall_at(curve, low, k) <= recall_at(curve, high, k) + 1e-9

    @given(curves(), st.floats(10, 300), TARGETS, TARGETS)
    def test_a_higher_target_never_needs_less(self, curve: Curve, k: float, one: float, other: float) -> None:
        low, high = (curve.effort(target, k) for target in sorted((one, other)))
        assert low is not None or high is None
        if low is not None and high is not None:
            assert low <= high + 1e-6

    @given(curves())
    def test_what_is_stored_is_what_is_read(self, curve: Curve) -> None:
        read = read_curve(curve.as_json())
        assert read.as_json() == curve.as_json()
        assert recall_at(read, 100, 10) == pytest.approx(recall_at(curve, 100, 10), abs=2e-4)

    @given(curves())
    def test_a_version_before_has_stored_no_contribution(self, curve: Curve) -> None:
        body = curve.as_json()
        del body["contribution"]
        assert read_curve(body) == replace(read_curve(curve.as_json()), contribution=None)

    def test_a_measured_point_is_met(self) -> None:
        curve = assumed(60_000)
        for place, ef in enumerate(EFS):
            assert recall_at(curve, ef, 10) == pytest.approx(max(curve.recall[0][: place + 1]))

    @given(ROWS, ROWS, TARGETS)
    def test_larger_graphs_are_assumed_to_need_more(self, one: int, other: int, target: float) -> None:
        small, large = (assumed(rows).effort(target, 10) or math.inf for rows in sorted((one, other)))
        assert small <= large


class TestEffort:
    @given(st.lists(st.tuples(ROWS, curves()), min_size=1, max_size=6), TARGETS, st.floats(1, 100_000), st.booleans())
    def test_every_walk_is_within_what_pgvector_takes(
        self, found: list[tuple[int, Curve]], target: float, k: float, filtered: bool
    ) -> None:
        effort = effort_for([graph(rows, curve) for rows, curve in found], target, k, filtered=filtered)
        assert 1 <= effort.ef <= MAX_EF
        assert all(1 <= visits <= MAX_VISITS for visits in effort.visits)
        assert all(one.ef <= effort.ef for one in effort.ranges)
        assert len({one.ef == 0 for one in effort.ranges}) == 1
        assert 0 <= effort.expected <= 1

    def test_a_small_graph_is_not_walked_as_far_as_a_large_one(self) -> None:
        effort = effort_for([graph(500_000), graph(20_000, lo=500_001)], 0.98, 10)
        alone = effort_for([graph(20_000)], 0.98, 10)
        assert effort.ranges[0].ef == effort.ef
        assert effort.ranges[1].ef <= alone.ef < effort.ef / 3

    def test_with_a_filter_each_graph_finds_the_share_of_what_it_holds(self) -> None:
        found = [graph(500_000), graph(60_000, lo=500_001), graph(20_000, lo=560_001)]
        effort = effort_for(found, 0.95, 10, filtered=True)
        assert effort.reached
        for one, visits in zip(found, effort.visits, strict=True):
            assert recall_at(one.curve, visits, 10) == pytest.approx(0.95, abs=0.003)

    @given(st.lists(curves(), min_size=2, max_size=4), TARGETS)
    def test_a_target_that_no_effort_reaches_is_said(self, found: list[Curve], target: float) -> None:
        """Of good graphs beside one that is bad too."""
        bad = Curve(KS, EFS, ((0.5,) * len(EFS),) * len(KS), ((0.0,) * len(EFS),) * len(KS), 100, "records")
        effort = effort_for([graph(5000, bad)], target, 10)
        assert (effort.ef, effort.reached, effort.expected) == (MAX_EF, False, 0.5)
        beside = [graph(1000, replace(curve, contribution=None)) for curve in found]
        effort = effort_for([graph(5000, bad), *beside], target, 10)
        assert (effort.ef, effort.reached) == (MAX_EF, False)

    def test_it_is_known_as_well_as_the_least_known_graph(self) -> None:
        known = Curve(KS, EFS, assumed(5000).recall, assumed(5000).error, 100, "queries")
        assert effort_for([graph(5000, known)], 0.98, 10).source == "queries"
        assert effort_for([graph(5000, known), graph(5000, lo=5001)], 0.98, 10).source == "assumed"

    def test_by_hand_every_graph_is_walked_the_same(self) -> None:
        effort = effort_by_hand([graph(60_000), graph(20_000, lo=60_001)], 120, 10)
        assert effort.ef == 120
        assert [one.ef for one in effort.ranges] == [0, 0]
        assert 0.96 < effort.expected < 0.995

    @given(st.lists(st.tuples(ROWS, curves()), min_size=1, max_size=6), TARGETS, st.floats(1, 100_000), st.booleans())
    def test_an_effort_can_be_repeated_from_what_was_written(
        self, found: list[tuple[int, Curve]], target: float, k: float, filtered: bool
    ) -> None:
        graphs = [graph(rows, curve) for rows, curve in found]
        effort = effort_for(graphs, target, k, filtered=filtered)
        again = repeated(graphs, effort.written, target, k, filtered=filtered)
        assert again == replace(effort, reached=True)

    @pytest.mark.parametrize(
        "written",
        ["", "0", "-5", "1,2,3", "a", "１２", "20001", "1.5", "1,", "9" * 20, "000000001" + "9" * 20, "1" * 5000],
    )
    def test_what_is_no_effort_is_not_repeated(self, written: str) -> None:
        assert repeated([graph(5000)], written, 0.98, 10) is None
