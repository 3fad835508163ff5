"""The header Range, compared with a plain reading of the RFC: which bytes are given, each once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.kit.byte_ranges import MOST_RANGES, TooManyRanges, read_ranges

PLACE = st.integers(0, 40)
SPEC = st.one_of(
    st.tuples(PLACE, PLACE).filter(lambda pair: pair[0] <= pair[1]),
    st.tuples(PLACE, st.none()),
    st.tuples(st.none(), PLACE),
)
Spec = tuple[int | None, int | None]


def wanted(spec: Spec, size: int) -> set[int]:
    first, last = spec
    if first is None:
        return set(range(max(0, size - (last or 0)), size))
    return set(range(first, min(size, size if last is None else last + 1)))


class TestRanges:
    @given(st.lists(SPEC, min_size=1, max_size=10), st.integers(0, 30))
    def test_the_bytes_that_are_named_are_given_once(self, specs: list[Spec], size: int) -> None:
        shown = ", ".join(f"{'' if a is None else a}-{'' if b is None else b}" for a, b in specs)
        spans = read_ranges(f"bytes={shown}", size)
        assert spans is not None
        given_ = [place for start, end in spans for place in range(start, end)]
        assert sorted(given_) == sorted(set().union(*(wanted(spec, size) for spec in specs)))
        assert all(0 <= start < end <= size for start, end in spans)

    @given(st.text(max_size=20), st.integers(0, 10))
    def test_any_header_is_read_or_ignored(self, header: str, size: int) -> None:
        for text in (header, f"bytes={header}"):
            spans = read_ranges(text, size)
            assert spans is None or all(0 <= start < end <= size for start, end in spans)

    @pytest.mark.parametrize(
        "header",
        [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "rows=0-1",
            "bytes=2-1",
            "bytes=a-",
            "bytes=1-2;",
            "bytes=" + "9" * 30 + "-",
        ],
    )
    def test_what_is_no_range_is_ignored(self, header: str) -> None:
        assert read_ranges(header, 10) is None

    def test_parts_keep_their_order_where_they_do_not_touch(self) -> None:
        assert read_ranges("bytes=8-9,0-1", 10) == [(8, 10), (0, 2)]
        assert read_ranges("bytes=8-9,0-1,2-3", 10) == [(8, 10), (0, 4)]
        assert read_ranges("BYTES = 0-0", 10) == [(0, 1)]

    def test_too_many_parts_are_refused(self) -> None:
        with pytest.raises(TooManyRanges):
            read_ranges("bytes=" + ",".join(["0-0"] * (MOST_RANGES + 1)), 10)
