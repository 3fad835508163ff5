"""Columns of timestamps and dates, judged as a whole; see ``vectorised``, and ``vectorised_texts`` for judges."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.types import TYPES
from gristmill.records.validation.texts import Checked, from_buffer, to_mask, valid_mask

_DAY = 86_400_000_000
_HOUR = 3_600_000_000
_EPOCH = dt.date(1970, 1, 1).toordinal()
_FIRST_DAY, _LAST_DAY = dt.date.min.toordinal() - _EPOCH, dt.date.max.toordinal() - _EPOCH
# Microseconds from the first moment of year 1 to before the first of year 10000, in UTC.
_FIRST, _END = _FIRST_DAY * _DAY, (_LAST_DAY + 1) * _DAY
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

# Years from 1000 on; the day is one that every month might have, which the conversion then decides.
_DATE = r"[1-9][0-9]{3}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_WITH_OFFSET = rf"^{_DATE}[T ]{_TIME}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
_WITHOUT_OFFSET = rf"^{_DATE}[T ]{_TIME}$"

Values = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def check_timestamp(field: FieldSpec, array: pa.Array) -> Checked:
    """Takes timestamps of any unit (whole microseconds), and texts; those without a zone are in the field's zone."""
    valid = valid_mask(array)
    if pa.types.is_string(array.type):
        values, good = _read_texts(field, array)
    else:
        values, good = _microseconds(array)
        good &= valid
        if array.type.tz is None:
            values, good = _localise(values, good, ZoneInfo(field.zone or "UTC"))
    for bound, compare in ((field.minimum, np.greater_equal), (field.maximum, np.less_equal)):
        if bound is not None:
            good &= compare(values, to_microseconds(TYPES["timestamp"].parse(field.without_bounds(), bound)))
    return from_buffer(pa.timestamp("us", "UTC"), values, good), valid & ~good


def check_date(field: FieldSpec, array: pa.Array) -> Checked:
    """Takes dates in days or in milliseconds (of whole days: others are no valid Arrow column), and texts."""
    valid = valid_mask(array)
    good = valid.copy()
    if pa.types.is_string(array.type):
        array, good = _cast_texts(array, f"^{_DATE}$", pa.date32())
    if pa.types.is_date64(array.type):
        days = np.frombuffer(array.buffers()[1], np.int64, len(array), array.offset * 8) // 86_400_000
    else:
        days = np.frombuffer(array.buffers()[1], np.int32, len(array), array.offset * 4).astype(np.int64)
    low, high = (None if bound is None else dt.date.fromisoformat(bound) for bound in (field.minimum, field.maximum))
    good &= days >= (_FIRST_DAY if low is None else low.toordinal() - _EPOCH)
    good &= days <= (_LAST_DAY if high is None else high.toordinal() - _EPOCH)
    return from_buffer(pa.date32(), np.where(good, days, 0).astype(np.int32), good), valid & ~good


def to_microseconds(moment: dt.datetime) -> int:
    """Return an aware datetime as microseconds since 1970 in UTC."""
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def _microseconds(array: pa.Array) -> tuple[Values, Mask]:
    """Return the values of a timestamp column in microseconds, and which of them that loses nothing of."""
    raw = np.frombuffer(array.buffers()[1], np.int64, len(array), array.offset * 8)
    per_second = _PER_SECOND[array.type.unit]
    low, high = _FIRST // 1_000_000 * per_second, _END // 1_000_000 * per_second
    # Nanoseconds of 64 bits end in the year 2262 and so never reach either limit.
    good = (raw >= low) & (raw < high) if array.type.unit != "ns" else np.ones(len(raw), np.bool_)
    if per_second > 1_000_000:
        return raw // 1000, good & (raw % 1000 == 0)
    return np.where(good, raw, 0) * (1_000_000 // per_second), good


def _read_texts(field: FieldSpec, array: pa.Array) -> tuple[Values, Mask]:
    aware, good = _cast_texts(array, _WITH_OFFSET, pa.timestamp("us", "UTC"))
    values = np.frombuffer(aware.buffers()[1], np.int64, len(array), aware.offset * 8)
    good = good & (values >= _FIRST) & (values < _END)
    if field.zone is None or good.all():
        return values, good
    naive, local = _cast_texts(array, _WITHOUT_OFFSET, pa.timestamp("us"))
    wall = np.frombuffer(naive.buffers()[1], np.int64, len(array), naive.offset * 8)
    moments, local = _localise(wall, local, ZoneInfo(field.zone))
    return np.where(local, moments, values), good | local


def _cast_texts(array: pa.Array, pattern: str, kind: Any) -> tuple[pa.Array, Mask]:
    """Return the texts that match as values of ``kind``, and which they are."""
    good = to_mask(pc.match_substring_regex(array, pattern))
    try:
        return _cast(array, good, kind), good
    except pa.ArrowInvalid:
        # Some month does not have some day. Those days are few: leave all such days to the precise way.
        good &= ~to_mask(pc.match_substring_regex(array, "^[0-9]{4}-[0-9]{2}-(29|30|31)"))
        return _cast(array, good, kind), good


def _cast(array: pa.Array, good: Mask, kind: Any) -> pa.Array:
    return (array if good.all() else pc.if_else(pa.array(good), array, pa.scalar(None, pa.string()))).cast(kind)


def _localise(wall: Values, good: Mask, zone: ZoneInfo) -> tuple[Values, Mask]:
    """Return clock times of ``zone`` as moments, and for which that is certain.

    The offset is asked for once per hour that occurs. An hour in which it changes, or that the clock skips or shows
    twice, is left to the precise way.
    """
    # A day away from the limits of the calendar no offset leads beyond them.
    good = good & (wall >= _FIRST + _DAY) & (wall < _END - _DAY)
    hours, place = np.unique(np.where(good, wall, 0) // _HOUR, return_inverse=True)
    offsets = [_offset_of_hour(int(hour), zone) for hour in hours]
    known = np.array([offset is not None for offset in offsets], np.bool_)
    amounts = np.array([offset or 0 for offset in offsets], np.int64)
    return wall - amounts[place], good & known[place]


def _offset_of_hour(hour: int, zone: ZoneInfo) -> int | None:
    """Return the offset, in microseconds, of every clock time in an hour since 1970, or None if there is not one."""
    start = dt.datetime(1970, 1, 1) + dt.timedelta(hours=hour)
    ends = (start, start + dt.timedelta(microseconds=_HOUR - 1))
    found = {end.replace(tzinfo=zone, fold=fold).utcoffset() for end in ends for fold in (0, 1)}
    offset = found.pop()
    return None if found or offset is None else offset // dt.timedelta(microseconds=1)
