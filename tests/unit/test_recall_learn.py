"""The mean of a stratified sample of searches: what learning a curve estimates its recall by."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.search.query.curve import EFS, KS, Curve
from gristmill.search.recall.learn import OutOfTime, Pace
from gristmill.search.recall.nearest import Queries
from gristmill.search.recall.tally import mean_of

SHARES = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@given(missed=SHARES, others=SHARES)
def test_where_all_are_walked_it_is_the_plain_mean(missed: list[float], others: list[float]) -> None:
    every = np.array(missed + others)
    mean, error = mean_of(every, (len(missed), len(others)))
    assert mean == pytest.approx(every.mean())
    assert error == pytest.approx(every.std() / np.sqrt(len(every)), abs=1e-7)


@given(shares=SHARES, first=st.booleans())
def test_one_of_the_two_kinds_may_be_empty(shares: list[float], first: bool) -> None:
    counts = (len(shares), 0) if first else (0, len(shares))
    assert mean_of(np.array(shares), counts)[0] == pytest.approx(np.mean(shares))


@given(missed=SHARES, others=st.integers(8, 400))
def test_others_that_miss_nothing_are_known_from_a_few(missed: list[float], others: int) -> None:
    """Then the error is that of all queries, not that of the few that were walked."""
    few = mean_of(np.array([*missed, *[1.0] * (others // 8)]), (len(missed), others))
    every = mean_of(np.array([*missed, *[1.0] * others]), (len(missed), others))
    assert few == pytest.approx(every, abs=1e-7)


def test_samples_of_the_others_give_the_true_mean_on_average() -> None:
    missed, others = [0.2, 0.9], [1.0, 0.7, 0.9, 1.0, 0.4, 0.8]
    found = [
        mean_of(np.array([*missed, *chosen]), (len(missed), len(others)))
        for chosen in itertools.combinations(others, 2)
    ]
    assert np.mean([mean for mean, _ in found]) == pytest.approx(np.mean(missed + others))
    assert min(error for _, error in found) > np.std(missed + others) / np.sqrt(8) * 0.5


def test_nearly_every_sample_of_queries_leads_to_an_effort_that_keeps_the_target() -> None:
    """Of 400 samples of 256 queries; by the measured recall alone half of the efforts would be too small."""
    random = np.random.default_rng(7)
    # What each of many queries finds by effort, some being far harder than others.
    hard = random.gamma(0.4, 30, size=(20_000, 1))
    shares = np.exp(-hard / np.array(EFS))
    truth = Curve(KS, EFS, (tuple(shares.mean(axis=0)),) * len(KS), ((0.0,) * len(EFS),) * len(KS), 0, "records")
    kept = []
    for _ in range(400):
        drawn = shares[random.integers(len(shares), size=256)]
        rows = [(tuple(found),) * len(KS) for found in (drawn.mean(axis=0), drawn.std(axis=0) / 16)]
        ef = Curve(KS, EFS, rows[0], rows[1], 256, "records").effort(0.95, 10)
        assert ef is not None
        kept.append(truth.missed_at(np.array([ef]), 10)[0][0] <= 0.05)
    assert 0.9 <= np.mean(kept) < 1


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_a_record_that_is_several_queries_is_one_observation(own: list[int]) -> None:
    found = Queries(("[1]",) * len(own), tuple(own)).independent
    assert found == len({one for one in own if one}) + sum(not one for one in own)


class TestPace:
    @given(st.lists(st.integers(0, 400), max_size=60), st.integers(0, 9), st.integers(1, 1000))
    def test_it_rests_in_proportion_and_never_briefly(self, work: list[int], idle: int, burst: int) -> None:
        """Times are whole milliseconds here."""
        clock, slept, calls = [0], [], []

        def sleep(for_: float) -> None:
            slept.append(for_)
            clock[0] += int(for_)

        pace = Pace(
            check=lambda: calls.append(1), idle=idle, seconds=1e9, burst=burst, sleep=sleep, now=lambda: clock[0]
        )
        for one in work:
            clock[0] += one
            pace.rest()
        assert pace.worked == sum(work)
        assert len(calls) == len(work)
        assert all(one >= idle * burst for one in slept)
        assert sum(slept) <= idle * sum(work) <= sum(slept) + idle * burst

    def test_work_has_an_end_and_rest_does_not_count(self) -> None:
        clock = [0.0]
        pace = Pace(
            idle=9, seconds=3, burst=1, sleep=lambda for_: clock.__setitem__(0, clock[0] + for_), now=lambda: clock[0]
        )
        for _ in range(3):
            clock[0] += 1
            pace.rest()
        clock[0] += 1
        with pytest.raises(OutOfTime):
            pace.rest()

    def test_it_does_not_rest_while_somebody_waits_for_it(self) -> None:
        clock, slept, waiting = [0.0], [], [False]
        pace = Pace(hurry=lambda: waiting[0], idle=2, burst=1, sleep=slept.append, now=lambda: clock[0])
        for waiting[0] in (False, True, True, False):
            clock[0] += 3
            pace.rest()
        assert slept == [6, 6]
        assert pace.worked == 12
