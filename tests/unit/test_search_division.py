"""Effort divided over several graphs: enough for the target, no more than that, and no graph is forgotten."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gristmill.search.query.curve import CONFIDENT, EFS, KS, Contribution, Curve, Table, assumed
from gristmill.search.query.division import MOST_MISSED, Graph, divided, expected
from gristmill.search.query.effort import effort_for
from gristmill.search.repository.catalogue import Range

TARGETS = st.floats(0.9, 0.995)
# Neighbours of the grid on which efforts lie.
STEP = 50 ** (1 / 80)


def table(missed: list[float], share: float = 1.0) -> Table:
    return (tuple(share * one for one in missed),) * len(KS)


def recalls(missed: list[float]) -> Table:
    return (tuple(1 - one for one in missed),) * len(KS)


@st.composite
def graphs(draw: st.DrawFn, contributed: bool = False) -> list[Graph]:
    """Graphs as they are: what is missed falls with a power of the effort, in each with another one."""
    found, lo = [], 1
    count = draw(st.integers(2, 6))
    rows = [draw(st.integers(1000, 500_000)) for _ in range(count)]
    weights = [draw(st.integers(1, 20)) for _ in range(count)]
    for number in range(count):
        worst, power = draw(st.floats(0.01, 0.6)), draw(st.floats(0.3, 1.5))
        missed = [worst * (ef / EFS[0]) ** -power for ef in EFS]
        error = draw(st.floats(0, 0.004))
        contribution = None
        if contributed:
            # Searches for what a graph holds find it more easily than what is farther away.
            share, easier = weights[number] / sum(weights), draw(st.floats(0.05, 1))
            contribution = Contribution(
                (share,) * len(KS), table(missed, share * easier), table([share * error] * len(EFS)), sum(rows), 10_000
            )
        curve = Curve(KS, EFS, recalls(missed), table([error] * len(EFS)), 1000, "records", (), contribution)
        found.append(Graph(Range(lo, lo + rows[number]), rows[number], curve))
        lo += rows[number]
    return found


def known(found: list[Graph], efs: list[float], contributed: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return of each graph its share of the answer, what it misses of it, and the error, computed one by one."""
    total = sum(graph.rows for graph in found)
    parts: list[tuple[float, float, float]] = []
    for graph, ef in zip(found, efs, strict=True):
        at = np.array([ef])
        if contributed:
            share, missed, error = graph.curve.contributed_at(at, 10)
            parts.append((share, float(missed[0]), float(error[0])))
        else:
            missed, error = graph.curve.missed_at(at, 10)
            part = graph.rows / total
            parts.append((part, part * float(missed[0]), part * float(error[0])))
    table_of = np.array(parts)
    return table_of[:, 0], table_of[:, 1], table_of[:, 2]


def is_enough(found: list[Graph], efs: list[float], target: float, contributed: bool, rounding: float = 1e-9) -> bool:
    """rounding: by how much a sum may be above its limit; negative where too little has to be shown."""
    share, missed, error = known(found, efs, contributed)
    allowed = 1 - target
    margin = math.sqrt(0.65 * (error**2).sum() + 0.35 * error.sum() ** 2)
    every = missed.sum() + CONFIDENT * margin <= allowed + rounding
    at_most = np.array(efs) > EFS[-1] - 1e-6
    return bool(every and np.all(at_most | (missed <= MOST_MISSED * allowed * share + rounding)))


class TestByRows:
    @given(graphs(), TARGETS)
    def test_it_is_enough_and_no_graph_could_do_with_less(self, found: list[Graph], target: float) -> None:
        efs = divided(found, target, 10)
        assume(efs is not None)
        assert efs is not None
        assert is_enough(found, efs, target, contributed=False)
        for place, ef in enumerate(efs):
            less = [*efs[:place], ef / STEP, *efs[place + 1 :]]
            assert ef / STEP < EFS[0] - 1e-6 or not is_enough(found, less, target, contributed=False, rounding=-1e-9)

    @given(graphs(), TARGETS)
    def test_it_is_less_than_if_each_graph_reached_the_target_by_itself(
        self, found: list[Graph], target: float
    ) -> None:
        each = [graph.curve.effort(target, 10) for graph in found]
        assume(None not in each)
        efs = divided(found, target, 10)
        assert efs is not None
        # They lie on a grid.
        assert sum(efs) <= STEP * sum(ef for ef in each if ef is not None) + 1e-6

    def test_of_equal_graphs_each_is_walked_as_far(self) -> None:
        curve = assumed(100_000)
        found = [Graph(Range(1 + n, 2 + n), 100_000, curve) for n in range(4)]
        efs = divided(found, 0.98, 10)
        assert efs is not None
        assert max(efs) <= STEP**2 * min(efs) * 1.001
        assert expected(found, efs, 10) == pytest.approx(0.98, abs=0.002)

    def test_a_hard_graph_is_not_walked_to_the_end(self) -> None:
        """What it costs the last hundredth there, the others find with much less."""
        easy = [0.2 * (ef / 20) ** -0.8 for ef in EFS]
        hard = [0.2 * (ef / 20) ** -0.6 for ef in EFS]
        shapes = (easy, easy, hard)
        found = [
            Graph(Range(n + 1, n + 2), 1000, Curve(KS, EFS, recalls(one), table([0.0] * 8), 256, "records"))
            for n, one in enumerate(shapes)
        ]
        each = effort_for(found, 0.98, 10, filtered=True)
        all_of_them = effort_for(found, 0.98, 10)
        assert each.reached
        assert each.ef > 900
        assert sum(all_of_them.visits) < 0.9 * sum(each.visits)
        assert all_of_them.reached


class TestByContribution:
    @given(graphs(contributed=True), TARGETS)
    def test_it_is_enough_by_one_of_the_two_ways_and_as_expected_by_what_was_seen(
        self, found: list[Graph], target: float
    ) -> None:
        efs = divided(found, target, 10)
        assume(efs is not None)
        assert efs is not None
        assert any(is_enough(found, efs, target, contributed) for contributed in (False, True))
        seen = 1 - float(known(found, efs, contributed=True)[1].sum())
        assert expected(found, efs, 10) == pytest.approx(seen)
        assert seen >= target - 1e-9

    def test_a_small_graph_that_most_searches_are_for_is_walked_the_farthest(self) -> None:
        missed = [0.3 * (ef / 20) ** -0.9 for ef in EFS]
        found = []
        for lo, rows, share in ((1, 10_000, 0.9), (10_001, 90_000, 0.1)):
            error = table([share * 0.002] * len(EFS))
            given_ = Contribution((share,) * len(KS), table(missed, share), error, 100_000, 256)
            curve = Curve(KS, EFS, recalls(missed), table([0.002] * len(EFS)), 256, "records", (), given_)
            found.append(Graph(Range(lo, lo + rows), rows, curve))
        efs = divided(found, 0.98, 10)
        assert efs is not None
        assert efs[0] > efs[1]
        assert 1 - float(known(found, efs, contributed=True)[1].sum()) >= 0.98

    def test_a_filter_may_keep_what_one_graph_holds_so_contributions_do_not_count(self) -> None:
        found = [Graph(Range(n, n + 1), 1000, _topic(0.001)) for n in (1, 2)]
        without = [Graph(one.range, one.rows, replace(one.curve, contribution=None)) for one in found]
        assert effort_for(found, 0.98, 10).ef < 60
        filtered = effort_for(found, 0.98, 10, filtered=True)
        assert filtered == effort_for(without, 0.98, 10, filtered=True)
        assert filtered.ef > 500

    @pytest.mark.parametrize("now", [(1, 3), (1,), (1, 2, 3)])
    def test_of_other_graphs_than_then_contributions_do_not_count(self, now: tuple[int, ...]) -> None:
        """One came, went, or was built anew: what is left for it nobody knows."""
        then = {n: Graph(Range(n, n + 1), 1000, _topic(0.001)) for n in (1, 2)}
        found = [then.get(n, Graph(Range(n, n + 1), 500, replace(_topic(0.001), contribution=None))) for n in now]
        without = [Graph(one.range, one.rows, replace(one.curve, contribution=None)) for one in found]
        assert effort_for(found, 0.98, 10) == effort_for(without, 0.98, 10)
        assert effort_for(found, 0.98, 10) != effort_for(list(then.values()), 0.98, 10)

    def test_what_few_searches_are_for_is_not_known_by_them(self) -> None:
        """A graph that two of 256 searches had something of, and missed nothing, is not left out."""
        few = Contribution((0.01,) * len(KS), table([0.0] * 8), table([0.0] * 8), 2000, 256)
        rare = Curve(KS, EFS, assumed(60_000).recall, table([0.0] * 8), 256, "records", (), few)
        found = [Graph(Range(1, 2), 1000, _topic(0.0)), Graph(Range(2, 3), 1000, rare)]
        efs = divided(found, 0.98, 10)
        assert efs is not None
        assert efs[1] > 60


class TestBounds:
    def test_no_walk_is_shorter_than_what_is_known_of_it(self) -> None:
        good = Curve(KS, EFS, recalls([1e-3] * 8), table([0.0] * 8), 256, "records")
        found = [Graph(Range(1, 2), 5_000_000, assumed(5_000_000)), Graph(Range(2, 3), 5_000_000, good)]
        efs = divided(found, 0.9, 10)
        assert efs is not None
        assert efs[0] >= found[0].curve.efs[0] > 100

    @given(graphs(), st.floats(20, 300), TARGETS)
    def test_no_walk_is_shorter_than_k_and_what_that_finds_counts(
        self, found: list[Graph], k: float, target: float
    ) -> None:
        efs = divided(found, target, k)
        assume(efs is not None)
        assert efs is not None
        assert min(efs) >= k
        assert is_enough(found, efs, target, contributed=False)
        for place, ef in enumerate(efs):
            less = [*efs[:place], max(k, ef / STEP), *efs[place + 1 :]]
            assert ef == k or not is_enough(found, less, target, contributed=False, rounding=-1e-9)

    def test_segments_without_rows(self) -> None:
        found = [Graph(Range(n, n + 1), 0, assumed(1000)) for n in (1, 2)]
        assert 0 <= effort_for(found, 0.98, 10).expected <= 1

    def test_hardness_that_graphs_share_is_within_the_margin(self) -> None:
        """As for one graph: nearly every sample of 256 queries leads to an effort that keeps the target."""
        random = np.random.default_rng(7)
        graphs_, kept = 3, []
        common = random.gamma(0.4, 30, size=(20_000, 1))
        own = [random.gamma(0.4, 30, size=(20_000, 1)) for _ in range(graphs_)]
        # Of the variance 0.35 are common to all graphs.
        mixed = [np.where(random.random((20_000, 1)) < 0.6, common, one) for one in own]
        shares = [np.exp(-hard / np.array(EFS)) for hard in mixed]
        truth = [_of(one) for one in shares]
        for _ in range(150):
            drawn = random.integers(20_000, size=256)
            measured = [_of(one[drawn]) for one in shares]
            found = [Graph(Range(n, n + 1), 1000, curve) for n, curve in enumerate(measured)]
            efs = divided(found, 0.95, 10)
            assert efs is not None
            true = [Graph(one.range, one.rows, curve) for one, curve in zip(found, truth, strict=True)]
            kept.append(expected(true, efs, 10) >= 0.95)
        assert np.mean(kept) >= 0.88


def _of(shares: np.ndarray) -> Curve:
    """Return the curve that a sample of queries has."""
    recall, error = shares.mean(axis=0), shares.std(axis=0) / len(shares) ** 0.5
    return Curve(KS, EFS, (tuple(recall),) * len(KS), (tuple(error),) * len(KS), len(shares), "records")


def _topic(missed: float) -> Curve:
    """A graph that finds what searches for its topic ask for, and little of what is far away."""
    lost = [missed * (ef / 20) ** -0.5 for ef in EFS]
    own = [0.4 * (ef / 20) ** -0.8 for ef in EFS]
    contribution = Contribution((0.5,) * len(KS), table(lost), table([0.0] * len(EFS)), 2000, 256)
    return Curve(KS, EFS, recalls(own), table([0.0] * len(EFS)), 256, "records", (), contribution)
