"""When a schedule runs: by a cron expression in a time zone, or at an interval from a start."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from dateutil.relativedelta import relativedelta

from gristmill.core.errors import Violation
from gristmill.kit.spans import SECOND, Span, parse_span
from gristmill.kit.time_zones import time_zones

CRON_RULE = (
    "minute (0-59), hour (0-23), day of month (1-31, L), month (1-12, JAN-DEC), day of week (0-7, SUN-SAT),"
    " as in '30 6 * * MON-FRI'; lists 1,2, ranges 1-5 and steps */15 are valid"
)
# Years that an interval has at most, and that a start is away.
MOST_YEARS = 10


@dataclass(frozen=True, slots=True)
class Timing:
    """``cron`` or ``every`` (as ``kit.spans`` reads it), in ``zone``. start: from which intervals are counted.

    An interval of days or months is one of the zone's calendar: its time of day stays through a change of clocks.
    """

    cron: str | None
    every: str | None
    zone: str
    start: datetime

    def after(self, moment: datetime) -> datetime | None:
        """Return the first time after ``moment``, in UTC; None where the years have no further one.

        A time of day that a change of clocks leaves out comes right after it; one that comes twice counts once. An
        expression with ``*`` or a step as minute or hour runs by elapsed time instead, as Debian's cron does.
        """
        if self.cron is not None:
            found = next(CronSim(self.cron, moment.astimezone(ZoneInfo(self.zone))), None)
            return None if found is None else found.astimezone(UTC)
        assert self.every is not None
        return _interval_after(parse_span(self.every), self.start, ZoneInfo(self.zone), moment)

    def times(self, moment: datetime) -> Iterator[datetime]:
        """Yield the times after ``moment``."""
        following = self.after(moment)
        while following is not None:
            yield following
            following = self.after(following)

    def words(self) -> str:
        """Return what it says in English."""
        if self.cron is None:
            return f"Every {self.every}"
        return str(CronSim(self.cron, self.start).explain())

    def violations(self) -> list[Violation]:
        """Return what is wrong with it; it may be asked for times when that is nothing."""
        if self.zone not in time_zones():
            reason = f"zone={self.zone!r:.80} is not valid: give a name of the IANA database, such as Europe/Berlin"
            return [Violation("/zone", "bad_zone", reason, field="zone")]
        if (self.cron is None) == (self.every is None):
            reason = "give either cron or every" if self.cron is None else "cron and every are both given: give one"
            return [Violation("/cron", "one_of", reason, field="cron")]
        if self.cron is None:
            return self._interval_violations()
        try:
            if len(self.cron.split()) != 5:
                raise CronSimError(f"It has {len(self.cron.split())} fields")  # six are valid there: seconds
            CronSim(self.cron, self.start)
        except CronSimError as error:
            reason = f"cron={self.cron!r:.80} is not valid ({error}): give five fields: {CRON_RULE}"
            return [Violation("/cron", "bad_cron", reason, field="cron")]
        return []

    def _interval_violations(self) -> list[Violation]:
        assert self.every is not None
        try:
            span = parse_span(self.every)
            if span.unit == "microsecond" and span.count < SECOND:
                raise ValueError("an interval has at least one second")
            if self.start + _step(span, 1) > self.start + relativedelta(years=MOST_YEARS):
                raise ValueError(f"an interval has at most {MOST_YEARS} years")
        except (ValueError, OverflowError) as error:
            reason = f"every={self.every!r:.80} is not valid: {error}"
            return [Violation("/every", "bad_interval", reason, field="every")]
        return []


def _step(span: Span, times: int) -> relativedelta | timedelta:
    if span.unit == "month":
        return relativedelta(months=times * span.count)
    if span.unit == "day":
        return timedelta(days=times * span.count)
    return timedelta(microseconds=times * span.count)


def _interval_after(span: Span, start: datetime, zone: ZoneInfo, moment: datetime) -> datetime:
    if span.unit == "microsecond":
        step = timedelta(microseconds=span.count)
        return start.astimezone(UTC) + max(0, (moment - start) // step + 1) * step
    local = start.astimezone(zone).replace(tzinfo=None)
    here = moment.astimezone(zone)
    passed = (here.year - local.year) * 12 + here.month - local.month
    if span.unit == "day":
        passed = (here.date() - local.date()).days
    # One less than can have passed; a step or two from there.
    number = max(0, passed // span.count - 1)
    while (found := (local + _step(span, number)).replace(tzinfo=zone).astimezone(UTC)) <= moment:
        number += 1
    return found
