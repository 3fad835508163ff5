"""How long a chunk waits before it is tried again."""

from hypothesis import given
from hypothesis import strategies as st

from gristmill.jobs.outcome import RetryPolicy


class TestDelay:
    @given(st.integers(1, 10**6))
    def test_it_doubles_up_to_the_longest_and_has_no_last_attempt(self, attempt: int) -> None:
        policy = RetryPolicy(base=1.0, longest=60.0)
        ceiling = min(60.0, 2.0 ** min(attempt - 1, 10))
        assert ceiling / 2 <= policy.delay(attempt) <= ceiling
