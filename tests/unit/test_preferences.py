"""The preference ``wait`` (RFC 7240), whatever stands beside it."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.http.waits import preferred_wait


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=10", 10),
        ('wait="10"', 10),
        ("WAIT = 10 ; x=1", 10),
        ("respond-async;a=b,wait=10", 10),
        ('a="x, wait=1 \\" y", wait=2, wait=3', 2),
        ("wait=", None),
        ("wait", None),
        ("wait=1.5", None),
        ("wait=ten", None),
        ("waits=10", None),
        ('"wait=10"', None),
        ("", None),
    ],
)
def test_it_is_read_as_it_is_written(header: str, seconds: int | None) -> None:
    assert preferred_wait(header) == seconds


@given(st.text(max_size=50), st.integers(0, 10**9 - 1))
def test_any_header_is_read_and_the_first_preference_counts(header: str, seconds: int) -> None:
    preferred_wait(header)
    assert preferred_wait(f"wait={seconds}, {header}") == seconds


@pytest.mark.parametrize("piece", ["a", " ", '"', "=", ";", ",", "a ", '"\\', "wait=1 "])
def test_a_long_one_holds_nobody_up(piece: str) -> None:
    begun = time.process_time()
    preferred_wait(piece * 60_000 + "(")
    assert time.process_time() - begun < 0.5
