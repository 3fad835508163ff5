"""When the clock of a time zone is changed, from the database of Python: the same on every server."""

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from zoneinfo import ZoneInfo

_SECOND = 1_000_000
_EPOCH = dt.datetime(1970, 1, 1)
# No zone is older than 1835. The Gregorian calendar repeats itself after 400 years, and so do the rules.
_FIRST_YEAR, _LAST_YEAR, _CYCLE = 1830, 2440, 400
_CYCLE_MICROSECONDS = 146_097 * 86_400 * _SECOND
# The first moment of year 1, and the last one of year 9999, in microseconds since 1970 in UTC.
FIRST_MOMENT = (dt.datetime(1, 1, 1) - _EPOCH) // dt.timedelta(microseconds=1)
LAST_MOMENT = (dt.datetime.max - _EPOCH) // dt.timedelta(microseconds=1)


@dataclass(frozen=True)
class Offsets:
    """What the clock shows from some moment on. All are microseconds; moments are counted since 1970 in UTC.

    since: moments, ascending; offsets: what is added to a moment from each of them on.
    """

    since: tuple[int, ...]
    offsets: tuple[int, ...]

    def at(self, moment: int) -> int:
        return self.offsets[max(bisect_right(self.since, moment) - 1, 0)]

    def first_moment_of(self, clock: int) -> int:
        """Return the first moment at which the clock shows ``clock`` or a later time.

        clock: microseconds since 1970 on the clock. Of a time that is shown twice it is the first, of one that is
        skipped the moment of the change.
        """
        found = bisect_right(self._shown_before, clock)
        index = min(found, len(self.since) - 1)
        return clock - self.offsets[index] if index == 0 else max(self.since[index], clock - self.offsets[index])

    @cached_property
    def _shown_before(self) -> list[int]:
        """What the clock has reached by the end of each period but the last."""
        ends = [after + offset for after, offset in zip(self.since[1:], self.offsets[:-1], strict=True)]
        return list(accumulate(ends, max))


def offsets_between(zone: str, low: int, high: int) -> Offsets:
    """Return the offsets of ``zone``, a name of the IANA list, from ``low`` to ``high``, two days more on each side."""
    margin = 2 * 86_400 * _SECOND
    low, high = max(low - margin, FIRST_MOMENT), min(high + margin, LAST_MOMENT)
    since, offsets = [low], [_offset(ZoneInfo(zone), low)]
    for year in range(_year(low), _year(high) + 1):
        for moment, offset in _changes(zone, year):
            if low < moment <= high and offset != offsets[-1]:
                since.append(moment)
                offsets.append(offset)
    return Offsets(tuple(since), tuple(offsets))


def _year(moment: int) -> int:
    return (_EPOCH + dt.timedelta(microseconds=moment)).year


def _changes(zone: str, year: int) -> Iterator[tuple[int, int]]:
    """Yield (moment, offset from then on) of each change in a year of UTC."""
    if year < _FIRST_YEAR:
        return
    cycles = max(0, (year - _LAST_YEAR + _CYCLE - 1) // _CYCLE)
    for moment, offset in _found(zone, year - cycles * _CYCLE):
        yield moment + cycles * _CYCLE_MICROSECONDS, offset


@lru_cache(maxsize=4096)
def _found(zone: str, year: int) -> tuple[tuple[int, int], ...]:
    clock = ZoneInfo(zone)
    start = (dt.datetime(year, 1, 1) - _EPOCH).days
    days = (dt.datetime(year + 1, 1, 1) - _EPOCH).days - start
    found: list[tuple[int, int]] = []
    before = _offset(clock, start * 86_400 * _SECOND - 1)
    for day in range(start, start + days):
        low, high = day * 86_400, (day + 1) * 86_400
        after = _offset(clock, high * _SECOND - 1)
        if after == before:
            continue
        # Whole seconds: the first one with the offset of the day's end.
        low -= 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if _offset(clock, middle * _SECOND) == after else (middle, high)
        found.append((high * _SECOND, after))
        before = after
    return tuple(found)


def _offset(zone: ZoneInfo, moment: int) -> int:
    """Return what the zone's clock shows more than UTC."""
    utc = _EPOCH.replace(tzinfo=dt.UTC) + dt.timedelta(microseconds=moment)
    try:
        found = utc.astimezone(zone).utcoffset()
    except OverflowError:
        # A clock that would show a year before 1 or after 9999.
        return 0
    return 0 if found is None else found // dt.timedelta(microseconds=1)
