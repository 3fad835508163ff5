"""What is read of which index, into which memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.search.index.warm import Memory, Reading, plan

MIB = 1024**2
MEMORY = Memory(buffers=256 * MIB, cache=1024 * MIB)


@pytest.mark.parametrize(
    ("size", "mode", "read"), [(1, "buffer", 1), (128, "buffer", 128), (129, "read", 129), (5000, "read", 1024)]
)
def test_one_index_goes_into_half_of_the_buffers_else_into_the_cache(size: int, mode: str, read: int) -> None:
    (found,) = plan([("a", size * MIB)], MEMORY)
    assert (found.mode, found.size) == (mode, read * MIB)


def test_several_share_the_memory_in_their_order() -> None:
    sizes = [("a", 100 * MIB), ("b", 600 * MIB), ("c", 28 * MIB), ("d", 50 * MIB), ("e", 900 * MIB), ("f", MIB)]
    assert plan(sizes, MEMORY) == [
        Reading("a", "buffer", 100 * MIB),
        Reading("b", "read", 600 * MIB),
        Reading("c", "buffer", 28 * MIB),
        Reading("d", "read", 50 * MIB),
        Reading("e", "read", 246 * MIB),
    ]


def test_an_empty_index_is_nothing_to_read() -> None:
    assert plan([("a", 0), ("b", 8192)], MEMORY) == [Reading("b", "buffer", 8192)]


def test_buffers_that_are_said_to_be_larger_than_all_memory_are_not_filled_beyond_it() -> None:
    assert plan([("a", 100 * MIB)], Memory(1024 * MIB, 64 * MIB)) == [Reading("a", "read", 64 * MIB)]


@given(st.lists(st.integers(0, 2**32)), st.integers(0, 2**33), st.integers(0, 2**33))
def test_never_more_than_there_is_memory_and_only_whole_blocks(blocks: list[int], buffers: int, cache: int) -> None:
    found = plan([(str(place), size * 8192) for place, size in enumerate(blocks)], Memory(buffers, cache))
    assert sum(reading.size for reading in found) <= cache
    assert sum(reading.size for reading in found if reading.mode == "buffer") <= buffers // 2
    assert all(reading.size > 0 and reading.size % 8192 == 0 for reading in found)
