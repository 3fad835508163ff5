"""SQL of buckets: arithmetic on whole microseconds, which no setting of Postgres changes."""

import datetime as dt
from collections.abc import Sequence

from gristmill.kit.buckets import Layout
from gristmill.kit.zone_changes import FIRST_MOMENT, LAST_MOMENT, Offsets

_EPOCH = dt.datetime(1970, 1, 1)
_CYCLE = dt.timedelta(days=146_097)
_MINUTE = 60_000_000


def moment_sql(moment: int) -> str:
    """Return a moment as Postgres reads it, without quotes; of any year."""
    shift = 0
    while moment < FIRST_MOMENT:
        moment, shift = moment + _CYCLE // dt.timedelta(microseconds=1), shift - 400
    while moment > LAST_MOMENT:
        moment, shift = moment - _CYCLE // dt.timedelta(microseconds=1), shift + 400
    found = _EPOCH + dt.timedelta(microseconds=moment)
    year = found.year + shift
    text = f"{year if year > 0 else 1 - year:04}-{found:%m-%dT%H:%M:%S.%f}Z"
    return text if year > 0 else f"{text} BC"


def interval_sql(microseconds: int) -> str:
    """Return a length of time: of microseconds alone, so that it has no days that a zone could make longer."""
    return f"'{microseconds} microseconds'::interval"


class BucketSql:
    """Expressions over the moment ``t`` of a layout. is_date: the time field is a date."""

    def __init__(self, layout: Layout, is_date: bool) -> None:
        self._layout = layout
        self._is_date = is_date
        self.type = "timestamp" if is_date else "timestamptz"
        self._starts = self._array(layout.starts)
        self._same = len(set(layout.lengths)) == 1

    def moment(self, moment: int) -> str:
        # A timestamp without a zone ignores the Z.
        return f"'{moment_sql(moment)}'::{self.type}"

    def start(self, column: str) -> str:
        """Return the beginning of the bucket of ``column``, a timestamptz or a date."""
        t = f"{column}::timestamp" if self._is_date else column
        outer = self._outer(t)
        inner = self._layout.inner
        return outer if inner is None else f"date_bin({interval_sql(inner)}, {t}, {outer})"

    def clipped_start(self, start: str) -> str:
        return self._shown(f"greatest({start}, {self.moment(FIRST_MOMENT)})")

    def end(self, start: str) -> str:
        """Return the end of the bucket that begins at ``start``, within the years that there are."""
        ends = [f"{self._outer(start)} + {self._length(start)}"]
        if self._layout.inner is not None:
            ends.append(f"{start} + {interval_sql(self._layout.inner)}")
        if len(self._layout.starts) > 1:
            ends.append(f"({self._starts})[{self._index(start)} + 1]")
        return self._shown(f"least({', '.join(ends)}, {self.moment(LAST_MOMENT)})")

    def all_starts(self, low: int, high: int) -> str:
        """Return the query of all buckets from that of ``low`` to that of ``high``, as a column b."""
        layout = self._layout
        first, last = layout.bucket(low)[0], layout.bucket(high)[0]
        starts: list[int] = []
        ends: list[int] = []
        lengths: list[int] = []
        for index, (start, length) in enumerate(zip(layout.starts, layout.lengths, strict=True)):
            end = layout.starts[index + 1] if index + 1 < len(layout.starts) else last + 1
            # From the bucket on that has the first one.
            begin = start + (first - start) // length * length if first >= start or index == 0 else start
            if begin < end and begin <= last and end > first:
                starts.append(begin)
                ends.append(min(end, last + 1))
                lengths.append(length)
        step = "interval '1 microsecond'"
        runs = f"unnest({self._array(starts)}, {self._array(ends)}, {_intervals(lengths)}) AS s(a, z, w)"
        bucket, series = "o", f"generate_series(s.a, s.z - {step}, s.w) AS o"
        if layout.inner is not None:
            bucket = "i"
            series += f", generate_series(o, least(o + s.w, s.z) - {step}, {interval_sql(layout.inner)}) AS i"
        bounds = f"{bucket} >= {self.moment(first)} AND {bucket} <= {self.moment(last)}"
        return f"SELECT {bucket} AS b FROM {runs}, {series} WHERE {bounds}"

    def _outer(self, t: str) -> str:
        origin = self.moment(self._layout.starts[0])
        if len(self._layout.starts) > 1:
            origin = f"({self._starts})[{self._index(t)}]"
        return f"date_bin({self._length(t)}, {t}, {origin})"

    def _length(self, t: str) -> str:
        if self._same:
            return interval_sql(self._layout.lengths[0])
        return f"({_intervals(self._layout.lengths)})[{self._index(t)}]"

    def _index(self, t: str) -> str:
        return f"greatest(width_bucket({t}, {self._starts}), 1)"

    def _array(self, moments: Sequence[int]) -> str:
        return _array([moment_sql(moment) for moment in moments], self.type)

    def _shown(self, expression: str) -> str:
        return f"({expression})::date" if self._is_date else expression


def zoned_text(column: str, offsets: Offsets) -> str:
    """Return a moment as text, with the offset that the zone has then.

    Offsets with seconds, which places had before they had zones, have no such text: moments are shown in UTC then, and
    on the first and last day that there are.
    """
    since: list[int] = []
    shown: list[int] = []
    for moment, offset in [(FIRST_MOMENT, 0), *_within(offsets), (LAST_MOMENT - 86_400_000_000, 0)]:
        offset = 0 if offset % _MINUTE else offset
        if not shown or offset != shown[-1]:
            since.append(moment)
            shown.append(offset)
    labels = {offset: _label(offset) for offset in shown}
    if len(labels) == 1:
        return _text(column, interval_sql(shown[0]), f"'{labels[shown[0]]}'")
    index = f"greatest(width_bucket({column}, {_array([moment_sql(one) for one in since], 'timestamptz')}), 1)"
    place = f"('{{{','.join(str(offset // _MINUTE) for offset in shown)}}}'::int[])[{index}]"
    cases = " ".join(f"WHEN {offset // _MINUTE} THEN '{label}'" for offset, label in labels.items())
    return _text(column, f"{place} * interval '1 minute'", f"CASE {place} {cases} END")


def _within(offsets: Offsets) -> list[tuple[int, int]]:
    """Return the periods, the first one from the second day on that there is."""
    first = FIRST_MOMENT + 86_400_000_000
    return [(max(since, first), offset) for since, offset in zip(offsets.since, offsets.offsets, strict=True)]


def _text(column: str, offset: str, label: str) -> str:
    clock = f"(({column} AT TIME ZONE 'UTC') + {offset})"
    return f"replace(to_char({clock}, 'YYYY-MM-DD\"T\"HH24:MI:SS.US'), '.000000', '') || {label}"


def _label(offset: int) -> str:
    minutes = abs(offset) // _MINUTE
    return "Z" if offset == 0 else f"{'-' if offset < 0 else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _array(values: Sequence[str], kind: str) -> str:
    listed = ",".join(f'"{value}"' for value in values)
    return f"'{{{listed}}}'::{kind}[]"


def _intervals(lengths: Sequence[int]) -> str:
    return _array([f"{length} microseconds" for length in lengths], "interval")
