"""How many requests a second one caller may make."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.api.rate_limit import RateLimit, RateLimited


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def taken(limit: RateLimit, caller: str) -> bool:
    try:
        limit.take(caller)
    except RateLimited:
        return False
    return True


@given(st.floats(0.1, 100), st.lists(st.floats(0, 3), max_size=60))
def test_no_stretch_of_time_has_more_than_the_rate_and_one_burst(rate: float, pauses: list[float]) -> None:
    clock = Clock()
    limit = RateLimit(rate, clock)
    times = []
    for pause in pauses:
        clock.now += pause
        if taken(limit, "a"):
            times.append(clock.now)
    for first, start in enumerate(times):
        for last in range(first, len(times)):
            assert last - first + 1 <= (times[last] - start) * rate + max(2 * rate, 1) + 1e-6


def test_what_it_says_to_wait_is_enough_and_others_are_not_held_up() -> None:
    clock = Clock()
    limit = RateLimit(4, clock)
    assert [taken(limit, "a") for _ in range(10)] == [True] * 8 + [False] * 2
    assert taken(limit, "b")
    with pytest.raises(RateLimited) as refused:
        limit.take("a")
    assert refused.value.code == "rate_limited"
    assert refused.value.retry_after == 1
    clock.now += 1
    assert [taken(limit, "a") for _ in range(6)] == [True] * 4 + [False] * 2


def test_without_a_limit_everything_is_answered() -> None:
    limit = RateLimit(0)
    assert all(taken(limit, "a") for _ in range(1000))


def test_a_check_counts_nothing_and_refuses_what_would_be_refused() -> None:
    limit = RateLimit(1, Clock())
    for _ in range(10):
        limit.check("a")
    assert [taken(limit, "a") for _ in range(3)] == [True, True, False]
    with pytest.raises(RateLimited):
        limit.check("a")
    RateLimit(0).check("a")
