"""What walks found, counted: the parts that graphs give to one answer add up to the recall of the whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.search.query.curve import EFS, KS
from gristmill.search.recall.nearest import Queries
from gristmill.search.recall.tally import Everywhere, Tally
from gristmill.search.repository.catalogue import Range, Ready

K = KS[0]


def segment(number: int, half_precision: bool = False) -> Ready:
    return Ready(Range(number, number + 1, half_precision=half_precision), number, 1000, None)


@st.composite
def walked(draw: st.DrawFn) -> tuple[list[list[list[float]]], list[list[list[list[float]]]]]:
    """Return of each graph, of each query: the true nearest; and of each graph, of each effort, what walks found."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    graphs, queries = draw(st.integers(2, 4)), draw(st.integers(1, 6))
    # Few different distances: ties are common.
    different = draw(st.sampled_from([5, 40, 10**9]))
    truths, walks = [], []
    for _ in range(graphs):
        truth = [
            sorted((random.integers(different, size=draw(st.integers(0, 400))) / different).tolist())[: KS[-1]]
            for _ in range(queries)
        ]
        found = [[[one for one in row if random.random() < ef / (ef + 20)][:ef] for row in truth] for ef in EFS]
        truths.append(truth)
        walks.append(found)
    return truths, walks


def counted(truths: list[list[list[float]]], walks: list[list[list[list[float]]]]) -> list[Tally]:
    everywhere = Everywhere(truths, 1000 * len(truths))
    tallies = []
    for number, (truth, found) in enumerate(zip(truths, walks, strict=True)):
        tally = Tally(segment(number), truth, everywhere)
        for ef, rows in zip(EFS, found, strict=True):
            # As if all had missed something before: all are walked.
            tally._missed[:] = True
            tally.add(ef, list(range(len(truth))), rows)
        tallies.append(tally)
    return tallies


@given(walked())
def test_the_parts_of_all_graphs_are_the_recall_of_the_answer(
    given_: tuple[list[list[list[float]]], list[list[list[list[float]]]]],
) -> None:
    """Whether or not distances are equal: of what is as near as the k-th any k are an answer."""
    truths, walks = given_
    queries = len(truths[0])
    contributions = [tally.curve(_queries(queries), ()).contribution for tally in counted(truths, walks)]
    nearest = [sorted(one for truth in truths for one in truth[query]) for query in range(queries)]
    asked = [query for query in range(queries) if nearest[query]]
    assert sum(one.share[0] for one in contributions if one) * queries == pytest.approx(len(asked))
    if any(nearest[query].count(nearest[query][K - 1]) > 1 for query in asked if len(nearest[query]) >= K):
        return
    for place in range(len(EFS)):
        recall = 0.0
        for query in asked:
            near = nearest[query][:K]
            answer = sorted(one for found in walks for one in found[place][query][:K])
            recall += sum(one <= near[-1] for one in answer) / len(near)
        parts = sum(one.share[0] - one.missed[0][place] for one in contributions if one)
        assert parts * queries == pytest.approx(recall)


@given(st.integers(2, 4), st.integers(10, 300))
def test_of_equal_distances_nothing_is_missed_by_whom_finds_k_of_them(graphs: int, count: int) -> None:
    truths = [[[0.5] * count]] * graphs
    for tally in counted(truths, [[[[0.5] * max(K, min(ef, count))] for ef in EFS]] * graphs):
        found = tally.curve(_queries(1), ()).contribution
        assert found is not None
        assert found.share[0] == pytest.approx(1 / graphs)
        assert found.missed[0] == (0.0,) * len(EFS)


def test_of_one_graph_alone_nothing_is_known_of_the_others() -> None:
    tally = Tally(segment(1), [[0.1, 0.2]], None)
    tally.add(EFS[0], tally.sample(EFS[0]), [[0.1]])
    curve = tally.curve(_queries(1), (1.0,))
    assert curve.contribution is None
    assert curve.recall[0][0] == 0.5


def test_with_much_effort_an_eighth_of_those_that_missed_nothing_are_walked_again() -> None:
    truth = [[0.1 * n for n in range(1, 11)]] * 80
    tally = Tally(segment(1), truth, None)
    every = tally.sample(120)
    assert len(every) == 80
    tally.add(120, every, [[], *truth[1:]])
    assert len(tally.sample(200)) == 80
    chosen = tally.sample(350)
    assert chosen[0] == 0
    assert len(chosen) == 1 + 10


def test_what_a_sample_misses_stands_for_all() -> None:
    """One of 80 queries misses all with much effort; all of the others are known from an eighth."""
    truth = [[0.1 * n for n in range(1, 11)]] * 80
    tally = Tally(segment(1), truth, Everywhere([truth, [[]] * 80], 2000))
    tally.add(200, tally.sample(200), [[], *truth[1:]])
    chosen = tally.sample(350)
    tally.add(350, chosen, [[], *truth[1 : len(chosen)]])
    found = tally.curve(_queries(80), ()).contribution
    assert found is not None
    assert found.missed[0][EFS.index(350)] == pytest.approx(1 / 80)


def _queries(count: int) -> Queries:
    return Queries(("[1]",) * count, (0,) * count)
