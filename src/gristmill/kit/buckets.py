"""Buckets of time: where they begin and end, true to the calendar of a zone. ``docs/semantics.md`` has the rules.

Moments are microseconds since 1970 in UTC. A layout names few numbers from which Postgres works out the bucket of each
record by arithmetic: between two changes of the clock all buckets have one length.
"""

import datetime as dt
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from gristmill.kit.spans import DAY, Span
from gristmill.kit.zone_changes import FIRST_MOMENT, LAST_MOMENT, Offsets, offsets_between

_EPOCH = dt.datetime(1970, 1, 1)
# A Monday, and the first day of a month, a quarter and a year: weeks begin on Mondays, months on the first.
DEFAULT_ORIGIN = (dt.datetime(2001, 1, 1) - _EPOCH) // dt.timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Buckets:
    """What was asked for.

    every: the length. zone: whose calendar. origin: where a bucket begins, in microseconds since 1970 on the zone's
    clock, the offset included. fixed_origin: the moment of an origin that elapsed time is counted from; None where
    lengths of less than a day are counted from the beginning of each day.
    """

    every: Span
    zone: str
    origin: int = DEFAULT_ORIGIN
    fixed_origin: int | None = None

    @property
    def is_simple(self) -> bool:
        """Whether one layout is right for all moments: nothing depends on the calendar of a zone."""
        if self.fixed_origin is not None:
            return True
        return self.zone == "UTC" and self.every.unit != "month" and (self.every.unit == "day" or self._divides_days)

    @property
    def _divides_days(self) -> bool:
        return DAY % self.every.count == 0

    def layout(self, low: int, high: int) -> "Layout":
        """Return the layout for moments from ``low`` to ``high``; where the buckets are simple, for all moments."""
        if self.fixed_origin is not None:
            return Layout((self.fixed_origin,), (self.every.count,), None)
        if self.is_simple:
            return Layout((self.origin,), (self.every.elapsed or 0,), None)
        # A bucket that holds a bound may begin and end a bucket's length away, when the clock has another offset.
        longest = self.every.count * 31 * DAY if self.every.unit == "month" else (self.every.elapsed or 0) + DAY
        offsets = offsets_between(self.zone, low - longest, high + longest)
        if self.every.unit == "month":
            return _months(self, offsets, low, high)
        length = self.every.count * DAY if self.every.unit == "day" else DAY
        layout = _days(self.origin, length, offsets, low, high)
        if self.every.unit == "day":
            return layout.merged()
        step = self.every.count
        if all(length % step == 0 for length in layout.lengths):
            return Layout(layout.starts, (step,) * len(layout.starts), None).merged()
        return Layout(layout.starts, layout.lengths, step)


@dataclass(frozen=True, slots=True)
class Layout:
    """Runs of buckets of one length.

    starts: where each run begins, ascending; it ends where the next one begins. lengths: of the buckets of each run;
    the last one of a run may be cut. inner: each of these is divided again, from its start, into buckets of this
    length, the last of which may be shorter; None where they are not.
    """

    starts: tuple[int, ...]
    lengths: tuple[int, ...]
    inner: int | None

    def merged(self) -> "Layout":
        """Return the same buckets in fewer runs."""
        starts, lengths = [self.starts[0]], [self.lengths[0]]
        for start, length in zip(self.starts[1:], self.lengths[1:], strict=True):
            if length != lengths[-1] or (start - starts[-1]) % length:
                starts.append(start)
                lengths.append(length)
        return Layout(tuple(starts), tuple(lengths), self.inner)

    def bucket(self, moment: int) -> tuple[int, int]:
        """Return where the bucket of ``moment`` begins and ends, the end not included."""
        index = max(bisect_right(self.starts, moment) - 1, 0)
        start, length = self.starts[index], self.lengths[index]
        start += (moment - start) // length * length
        end = start + length
        if self.inner is not None:
            start += (moment - start) // self.inner * self.inner
            end = min(end, start + self.inner)
        return start, min(end, self.starts[index + 1]) if index + 1 < len(self.starts) else end

    def count(self, low: int, high: int) -> int:
        """Return how many buckets there are from that of ``low`` to that of ``high``."""
        if high < low:
            return 0
        first, last = self.bucket(low)[0], self.bucket(high)[0]
        return sum(self._counted(run, first, last) for run in range(len(self.starts)))

    def _counted(self, run: int, first: int, last: int) -> int:
        """Return how many buckets of a run begin from ``first`` to ``last``."""
        end = self.starts[run + 1] if run + 1 < len(self.starts) else last + 1
        # Moments before the first run belong to it, too.
        begin = self.starts[run] if run or first >= self.starts[0] else first
        low, high = max(begin, first), min(end - 1, last)
        if high < low:
            return 0
        length = self.lengths[run]
        if self.inner is None:
            return (high - low) // length + 1
        outer_low, outer_high = (low - self.starts[run]) // length, (high - self.starts[run]) // length
        each = -(-length // self.inner)
        behind = (low - self.starts[run] - outer_low * length) // self.inner
        within = (high - self.starts[run] - outer_high * length) // self.inner + 1
        return (outer_high - outer_low) * each - behind + within


def _days(origin: int, length: int, offsets: Offsets, low: int, high: int) -> Layout:
    """Return runs of buckets of whole days, ``length`` being that of most of them."""

    def edge(number: int) -> int:
        return offsets.first_moment_of(origin + number * length)

    def number_at(moment: int) -> int:
        """Return the number of the bucket of a moment."""
        number = (moment + offsets.at(moment) - origin) // length
        # On a clock that was put back, or forward over the edge, the neighbour may be the right one.
        while edge(number) > moment:
            number -= 1
        while edge(number + 1) <= moment:
            number += 1
        return number

    first, last = number_at(low), number_at(high)
    numbers = {first}
    for change in offsets.since[1:]:
        if edge(first) < change <= edge(last + 1):
            # The buckets before the change, with it, and behind it.
            around = number_at(change - 1)
            numbers.update(range(max(around, first), min(around + 3, last + 1) + 1))
    starts: list[int] = []
    lengths: list[int] = []
    for number in sorted(numbers):
        start, end = edge(number), edge(number + 1)
        # A day that the clock skips has no moments.
        if start < end and number <= last:
            starts.append(start)
            lengths.append(end - start)
    return Layout(tuple(starts), tuple(lengths), None)


def _months(buckets: Buckets, offsets: Offsets, low: int, high: int) -> Layout:
    """Return each bucket of months as a run."""
    edges: list[int] = []
    for clock in _month_edges(buckets, low, high):
        edge = offsets.first_moment_of(clock)
        if not edges or edge > edges[-1]:
            edges.append(edge)
    lengths = tuple(end - start for start, end in pairwise(edges))
    return Layout(tuple(edges[:-1]), lengths, None)


def _month_edges(buckets: Buckets, low: int, high: int) -> Iterator[int]:
    """Yield the clock times at which months begin, from one before ``low`` to one behind ``high``."""
    origin = _EPOCH + dt.timedelta(microseconds=buckets.origin)
    base, count = origin.year * 12 + origin.month - 1, buckets.every.count
    within = origin - dt.datetime(origin.year, origin.month, 1)
    number = (_month_of(low - 32 * DAY) - base) // count
    while True:
        month = base + number * count
        if month < 12:
            yield FIRST_MOMENT
        elif month >= 12 * 10_000:
            yield LAST_MOMENT + 1
            return
        else:
            edge = (dt.datetime(month // 12, month % 12 + 1, 1) + within - _EPOCH) // dt.timedelta(microseconds=1)
            yield edge
            if edge > high + 2 * DAY:
                return
        number += 1


def _month_of(moment: int) -> int:
    found = _EPOCH + dt.timedelta(microseconds=max(moment, FIRST_MOMENT))
    return found.year * 12 + found.month - 1
