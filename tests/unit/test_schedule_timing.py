"""When schedules run: cron and intervals, through changes of clocks, beside a plain walk over the calendar."""

import itertools
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.schedules.timing import Timing

BERLIN = "Europe/Berlin"
START = datetime(2026, 1, 1, tzinfo=UTC)
ZONES = ["UTC", BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia"]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def following(timing: Timing, moment: str, number: int = 3) -> list[str]:
    zone = ZoneInfo(timing.zone)
    return [one.astimezone(zone).isoformat() for one in itertools.islice(timing.times(at(moment)), number)]


def cron(text: str, zone: str = "UTC") -> Timing:
    return Timing(text, None, zone, START)


def every(text: str, zone: str = "UTC", start: datetime = START) -> Timing:
    return Timing(None, text, zone, start)


class TestCron:
    def test_times_of_the_zone(self) -> None:
        assert following(cron("30 6 * * MON-FRI", BERLIN), "2026-01-01T12:00:00+00:00") == [
            "2026-01-02T06:30:00+01:00", "2026-01-05T06:30:00+01:00", "2026-01-06T06:30:00+01:00",
        ]  # fmt: skip

    def test_a_time_that_the_clocks_leave_out_comes_right_after_them(self) -> None:
        assert following(cron("30 2 * * *", BERLIN), "2026-03-28T00:00:00+01:00") == [
            "2026-03-28T02:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00",
        ]  # fmt: skip

    def test_a_time_that_comes_twice_counts_once(self) -> None:
        assert following(cron("30 2 * * *", BERLIN), "2026-10-24T12:00:00+02:00", 2) == [
            "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00",
        ]  # fmt: skip

    def test_every_quarter_of_an_hour_goes_by_elapsed_time(self) -> None:
        found = list(itertools.islice(cron("*/15 * * * *", BERLIN).times(at("2026-10-25T00:00:00+02:00")), 100))
        assert {after - before for before, after in itertools.pairwise(found)} == {timedelta(minutes=15)}

    def test_the_end_of_a_month_and_the_day_of_a_leap_year(self) -> None:
        assert following(cron("0 0 L * *"), "2028-01-31T12:00:00+00:00", 2) == [
            "2028-02-29T00:00:00+00:00", "2028-03-31T00:00:00+00:00",
        ]  # fmt: skip
        assert following(cron("0 0 29 2 *"), "2026-01-01T00:00:00+00:00", 1) == ["2028-02-29T00:00:00+00:00"]

    @given(
        zone=st.sampled_from(ZONES),
        minute=st.integers(0, 59),
        hour=st.integers(0, 23),
        moment=st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    )
    def test_once_each_day_of_the_zone(self, zone: str, minute: int, hour: int, moment: datetime) -> None:
        times = list(itertools.islice(cron(f"{minute} {hour} * * *", zone).times(moment), 40))
        assert times[0] > moment
        days = [one.astimezone(ZoneInfo(zone)).date() for one in times]
        assert all((after - before).days == 1 for before, after in itertools.pairwise(days))

    @pytest.mark.parametrize(
        "text",
        [
            "61 * * * *",
            "* 24 * * *",
            "* * * *",
            "",
            "every day",
            "* * * * * *",
            "0 0 30 2 *",
            "0 0 31 4,6 *",
            "@daily",
            "\0 * * * *",
        ],
    )
    def test_what_is_none_is_said(self, text: str) -> None:
        (found,) = cron(text).violations()
        assert (found.pointer, found.code) == ("/cron", "bad_cron")
        assert "minute (0-59)" in found.reason


class TestIntervals:
    def test_counted_from_the_start(self) -> None:
        quarter = every("15m", start=at("2026-01-01T00:05:00+00:00"))
        assert following(quarter, "2026-01-01T10:00:00+00:00", 2) == [
            "2026-01-01T10:05:00+00:00", "2026-01-01T10:20:00+00:00",
        ]  # fmt: skip
        assert following(quarter, "2025-06-01T00:00:00+00:00", 1) == ["2026-01-01T00:05:00+00:00"]

    def test_days_keep_their_time_of_day(self) -> None:
        daily = every("1d", BERLIN, at("2026-03-27T09:00:00+01:00"))
        assert following(daily, "2026-03-28T00:00:00+01:00", 2) == [
            "2026-03-28T09:00:00+01:00", "2026-03-29T09:00:00+02:00",
        ]  # fmt: skip

    def test_months_from_the_31st_end_with_the_month_and_come_back(self) -> None:
        monthly = every("1mo", start=at("2026-01-31T08:00:00+00:00"))
        assert following(monthly, "2026-02-01T00:00:00+00:00", 3) == [
            "2026-02-28T08:00:00+00:00", "2026-03-31T08:00:00+00:00", "2026-04-30T08:00:00+00:00",
        ]  # fmt: skip

    @given(
        zone=st.sampled_from(ZONES),
        count=st.integers(1, 40),
        unit=st.sampled_from(["s", "m", "h", "d", "w", "mo", "q", "y"]),
        start=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
        away=st.timedeltas(timedelta(days=-2000), timedelta(days=2000)),
    )
    def test_the_first_time_after_a_moment_is_one_of_the_row_and_none_is_left_out(
        self, zone: str, count: int, unit: str, start: datetime, away: timedelta
    ) -> None:
        timing = every(f"{count}{unit}", zone, start)
        moment = start + away
        found = timing.after(moment)
        assert found is not None
        assert found > moment
        assert found >= start
        # Asked just before it, and at any moment between, the answer is the same.
        assert timing.after(found - timedelta(microseconds=1)) == found
        assert timing.after(moment + (found - moment) / 2) == found

    @pytest.mark.parametrize(
        "text", ["0s", "500ms", "11y", "1000000d", "1h30m", "-1h", "5 bananas", "P1MT1H", "15", "", "1mo\0"]
    )
    def test_what_is_none_is_said(self, text: str) -> None:
        (found,) = every(text).violations()
        assert (found.pointer, found.code) == ("/every", "bad_interval")


class TestViolations:
    def test_a_zone_that_is_none(self) -> None:
        for zone in ("Berlin", "../../etc/passwd", "CET+1", ""):
            (found,) = cron("* * * * *", zone).violations()
            assert (found.pointer, found.code) == ("/zone", "bad_zone")

    def test_neither_and_both(self) -> None:
        assert [one.code for one in Timing(None, None, "UTC", START).violations()] == ["one_of"]
        assert [one.code for one in Timing("* * * * *", "1h", "UTC", START).violations()] == ["one_of"]

    def test_words(self) -> None:
        assert cron("30 6 * * MON-FRI").words() == "At 06:30 on Monday through Friday"
        assert every("15m").words() == "Every 15m"
