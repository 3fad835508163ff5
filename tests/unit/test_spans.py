"""Lengths of time as texts."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.kit.spans import DAY, SECOND, Span, parse_span


class TestParse:
    @pytest.mark.parametrize(
        ("text", "span"),
        [
            ("5s", Span(5 * SECOND, "microsecond")),
            ("PT5S", Span(5 * SECOND, "microsecond")),
            ("250ms", Span(250_000, "microsecond")),
            ("PT0.25S", Span(250_000, "microsecond")),
            ("15m", Span(900 * SECOND, "microsecond")),
            ("PT1H30M", Span(5400 * SECOND, "microsecond")),
            ("1h", Span(3600 * SECOND, "microsecond")),
            ("1d", Span(1, "day")),
            ("P1D", Span(1, "day")),
            ("1w", Span(7, "day")),
            ("P2W", Span(14, "day")),
            ("1mo", Span(1, "month")),
            ("P1M", Span(1, "month")),
            ("1q", Span(3, "month")),
            ("1y", Span(12, "month")),
            ("P1Y6M", Span(18, "month")),
            ("P0DT1H", Span(3600 * SECOND, "microsecond")),
        ],
    )
    def test_both_forms(self, text: str, span: Span) -> None:
        assert parse_span(text) == span

    @pytest.mark.parametrize(
        "text",
        [
            *("5 bananas", "", "0", "0s", "PT0S", "P", "PT", "P1DT", "-1h", "-PT1H", "1.5h", "1H", "1 h", "h", "P1M1D"),
            *("P1DT1H", "1mo1d", "1M", "99999999y", "9" * 18 + "d", "9" * 40 + "s", "１h", "P1S", "PT1.S", "1h\n"),
        ],
    )
    def test_everything_else_is_refused_with_what_is_valid(self, text: str) -> None:
        with pytest.raises(ValueError, match="expected a length of time greater than zero"):
            parse_span(text)

    @given(st.text(max_size=20))
    def test_no_text_raises_anything_else(self, text: str) -> None:
        with contextlib.suppress(ValueError):
            assert parse_span(text).count > 0

    @given(st.builds(Span, st.integers(1, 12_000), st.sampled_from(["microsecond", "day", "month"])))
    def test_the_text_of_a_span_is_read_as_the_span(self, span: Span) -> None:
        assert parse_span(str(span)) == span


class TestElapsed:
    def test_a_day_has_24_hours_and_a_month_no_length(self) -> None:
        assert parse_span("1w").elapsed == 7 * DAY
        assert parse_span("5s").elapsed == 5 * SECOND
        assert parse_span("1mo").elapsed is None
