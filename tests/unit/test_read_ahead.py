"""Reading ahead: everything in order, errors where they belong, a bounded lead, and no thread that stays."""

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.kit.read_ahead import ReadAhead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "read-ahead"]


@given(st.lists(st.integers()), st.integers(1, 4))
def test_everything_comes_in_order(items: list[int], most: int) -> None:
    ahead = ReadAhead(items, most)
    assert list(ahead) == items
    ahead.close()
    assert threads() == []


def test_an_error_comes_after_the_items_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("the third is not there")

    found: list[int] = []
    ahead = ReadAhead(items(), 1)
    with pytest.raises(LookupError, match="the third"):
        found.extend(ahead)
    assert found == [1, 2]


def test_the_thread_is_never_further_ahead_than_it_may_be() -> None:
    made: list[int] = []
    taken = 0
    leads = []

    def items() -> Iterator[int]:
        for number in range(200):
            made.append(number)
            leads.append(len(made) - taken)
            yield number

    ahead = ReadAhead(items(), 2)
    for _ in ahead:
        taken += 1
    # Two that are ready, one that is being made, and one that was handed over and is not counted yet.
    assert max(leads) <= 4
    assert len(made) == 200


def test_closing_ends_the_thread_before_the_items_end() -> None:
    made: list[int] = []

    def items() -> Iterator[int]:
        number = 0
        while True:
            made.append(number)
            yield number
            number += 1

    ahead = ReadAhead(items(), 1)
    reading = iter(ahead)
    assert [next(reading), next(reading)] == [0, 1]
    ahead.close()
    assert threads() == []
    assert len(made) <= 4
    ahead.close()


def test_what_was_never_read_can_be_closed() -> None:
    ReadAhead(iter([1]), 1).close()
    assert threads() == []


def test_it_is_read_once() -> None:
    ahead = ReadAhead([1], 1)
    assert list(ahead) == [1]
    with pytest.raises(RuntimeError):
        list(ahead)
