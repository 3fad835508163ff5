"""Buckets of time against a plain reading of the rules: whole, without gaps, true to the calendar of a zone."""

import datetime as dt
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.kit.buckets import DEFAULT_ORIGIN, Buckets
from gristmill.kit.spans import DAY, Span, parse_span
from gristmill.kit.zone_changes import FIRST_MOMENT, LAST_MOMENT, offsets_between
from gristmill.records.aggregate.bucket_sql import BucketSql

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)
ZONES = [
    *("Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"),
    *("America/Havana", "America/Sao_Paulo", "Africa/Casablanca", "Asia/Beirut", "UTC"),
]
pytestmark = pytest.mark.promise(10)


def moment(text: str) -> int:
    return (dt.datetime.fromisoformat(text).astimezone(dt.UTC) - EPOCH) // MICROSECOND


def clock(at: int, zone: str) -> dt.datetime:
    """Return what the clock of a zone shows."""
    return (EPOCH + at * MICROSECOND).astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def text(at: int, zone: str) -> str:
    return (EPOCH + at * MICROSECOND).astimezone(ZoneInfo(zone)).isoformat()


def first_moment(wall: dt.datetime, zone: str) -> int:
    """Return the first moment at which the clock shows ``wall`` or later, found by looking second by second."""
    start = (wall.replace(tzinfo=dt.UTC) - EPOCH) // MICROSECOND
    # Offsets change at whole minutes in these years: the hour first, then the minute.
    hour = next(at for at in range(start - 2 * DAY, start + 2 * DAY, DAY // 24) if _reached(at, wall, zone))
    return next(at for at in range(hour - DAY // 24, hour + 1, 60_000_000) if clock(at, zone) >= wall)


def _reached(at: int, wall: dt.datetime, zone: str) -> bool:
    """Say whether the clock has shown ``wall`` by then, within the hour before."""
    return any(clock(at - minutes * 60_000_000, zone) >= wall for minutes in (0, 15, 29, 30, 45, 59))


def reference(at: int, every: Span, zone: str) -> tuple[int, int]:
    """Return the bucket of a moment by looking for its edges on the calendar."""
    wall = clock(at, zone)
    if every.unit == "month":
        base = (wall.year - 2001) * 12 + wall.month - 1
        walls = [_month(base // every.count * every.count + step * every.count) for step in (-1, 0, 1, 2)]
    else:
        count = every.count if every.unit == "day" else 1
        number = (wall.date() - dt.date(2001, 1, 1)).days // count * count
        first = dt.datetime(2001, 1, 1) + dt.timedelta(days=number)
        walls = [first + dt.timedelta(days=count * step) for step in (-1, 0, 1, 2)]
    edges = [first_moment(one, zone) for one in walls]
    start, end = next((low, high) for low, high in pairwise(edges) if low <= at < high)
    if every.unit == "microsecond":
        start += (at - start) // every.count * every.count
        end = min(end, start + every.count)
    return start, end


def _month(number: int) -> dt.datetime:
    return dt.datetime(2001 + number // 12, number % 12 + 1, 1)


# Around changes of clocks, where things go wrong, and anywhere.
changes = st.sampled_from(
    [
        *("2025-10-26T01:00:00+00:00", "2025-03-30T01:00:00+00:00", "2006-10-29T02:31:00+00:00"),
        *("2006-04-02T03:31:00+00:00", "2025-04-05T15:00:00+00:00", "2025-10-04T15:30:00+00:00"),
        *("2011-12-30T10:00:00+00:00", "2017-11-05T05:00:00+00:00", "2017-10-15T03:00:00+00:00"),
        *("2018-02-18T02:00:00+00:00", "2022-03-26T22:00:00+00:00", "2022-05-08T02:00:00+00:00"),
    ]
)
moments = st.one_of(
    st.builds(lambda at, off: moment(at) + off, changes, st.integers(-3 * DAY, 3 * DAY)),
    st.integers(moment("2000-01-01T00:00:00+00:00"), moment("2030-01-01T00:00:00+00:00")),
)
spans = st.sampled_from(["1h", "15m", "30m", "7h", "13m", "1d", "3d", "1w", "1mo", "1q", "5mo", "1y", "90s"]).map(
    parse_span
)


class TestBuckets:
    @settings(max_examples=300, deadline=None)
    @given(at=moments, every=spans, zone=st.sampled_from(ZONES))
    def test_they_are_what_the_rules_say(self, at: int, every: Span, zone: str) -> None:
        at = at // 60_000_000 * 60_000_000
        found = Buckets(every, zone).layout(at, at).bucket(at)
        assert found == reference(at, every, zone)

    @settings(max_examples=200, deadline=None)
    @given(at=moments, width=st.integers(0, 40 * DAY), every=spans, zone=st.sampled_from(ZONES))
    def test_a_longer_window_has_the_same_ones_without_gaps_and_their_count(
        self, at: int, width: int, every: Span, zone: str
    ) -> None:
        width = min(width, 100 * (every.elapsed or 40 * DAY))
        layout = Buckets(every, zone).layout(at, at + width)
        here, count = at, 0
        while here <= at + width:
            start, end = layout.bucket(here)
            assert start <= here < end
            assert layout.bucket(start) == layout.bucket(end - 1) == (start, end)
            assert Buckets(every, zone).layout(here, here).bucket(here) == (start, end)
            here, count = end, count + 1
        assert layout.count(at, at + width) == count

    def test_hours_of_most_zones_are_plain_arithmetic(self) -> None:
        low, high = moment("2000-01-01T00:00:00+00:00"), moment("2030-01-01T00:00:00+00:00")
        assert len(Buckets(parse_span("1h"), "Europe/Berlin").layout(low, high).starts) == 1
        assert len(Buckets(parse_span("1h"), "Asia/Kathmandu").layout(low, high).starts) == 1
        assert len(Buckets(parse_span("1h"), "Australia/Lord_Howe").layout(low, high).starts) > 60

    def test_the_sql_of_plain_arithmetic_has_nothing_else(self) -> None:
        low, high = moment("2000-01-01T00:00:00+00:00"), moment("2030-01-01T00:00:00+00:00")
        for zone in ("UTC", "Europe/Berlin"):
            made = BucketSql(Buckets(parse_span("1h"), zone).layout(low, high), False).start("t")
            assert made.startswith("date_bin('3600000000 microseconds'::interval, t, '")
            assert "width_bucket" not in made
        assert "width_bucket" in BucketSql(Buckets(parse_span("1d"), zone).layout(low, high), False).start("t")

    def test_a_day_that_a_zone_left_out_has_no_bucket(self) -> None:
        layout = Buckets(parse_span("1d"), "Pacific/Apia").layout(
            moment("2011-12-28T12:00:00+00:00"), moment("2012-01-02T12:00:00+00:00")
        )
        before = layout.bucket(moment("2011-12-30T09:59:00+00:00"))
        assert text(before[0], "Pacific/Apia") == "2011-12-29T00:00:00-10:00"
        assert text(before[1], "Pacific/Apia") == "2011-12-31T00:00:00+14:00"

    def test_half_an_hour_of_lord_howe(self) -> None:
        low, high = moment("2025-10-03T14:00:00+00:00"), moment("2025-10-06T14:00:00+00:00")
        layout = Buckets(parse_span("1d"), "Australia/Lord_Howe").layout(low, high)
        start, end = layout.bucket(moment("2025-10-04T16:00:00+00:00"))
        assert (end - start) / DAY * 24 == 23.5

    @pytest.mark.parametrize("every", ["1d", "1w", "1mo", "1y", "1h", "7h"])
    @pytest.mark.parametrize("zone", ["Europe/Berlin", "Pacific/Apia", "UTC"])
    def test_the_first_and_the_last_moment_that_there_are(self, every: str, zone: str) -> None:
        layout = Buckets(parse_span(every), zone).layout(FIRST_MOMENT, LAST_MOMENT)
        for at in (FIRST_MOMENT, LAST_MOMENT):
            start, end = layout.bucket(at)
            assert start <= at < end

    def test_elapsed_time_from_an_origin(self) -> None:
        origin = moment("2025-10-25T06:00:00+00:00")
        buckets = Buckets(parse_span("36h"), "Europe/Berlin", DEFAULT_ORIGIN, origin)
        at = moment("2025-10-27T00:00:00+00:00")
        assert buckets.layout(at, at).bucket(at) == (origin + 36 * DAY // 24, origin + 72 * DAY // 24)


class TestOffsets:
    @settings(max_examples=300, deadline=None)
    @given(at=st.integers(moment("1900-01-01T00:00:00+00:00"), LAST_MOMENT - 3 * DAY), zone=st.sampled_from(ZONES))
    def test_they_are_those_of_the_database_of_python(self, at: int, zone: str) -> None:
        offset = (EPOCH + at * MICROSECOND).astimezone(ZoneInfo(zone)).utcoffset()
        assert offset is not None
        assert offsets_between(zone, at - 400 * DAY, at + DAY).at(at) == offset // MICROSECOND
