"""timestamp: a moment of the years 1 to 9999 in UTC, to the microsecond."""

import datetime as dt
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import sqlalchemy as sa
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core import core_schema as schemas
from sqlalchemy.dialects import postgresql

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import calendar, columns
from gristmill.datasets.types.base import Expression, FieldType, Mistake
from gristmill.datasets.types.binary_copy import big_endian, fixed_fields
from gristmill.kit.time_zones import time_zones
from gristmill.kit.timestamps import rfc3339

_POSTGRES_EPOCH = 946_684_800_000_000  # 2000-01-01 in microseconds since 1970
_HOUR = 3_600_000_000
_DAY = 24 * _HOUR
# Microseconds from the first moment of year 1 to before the first of year 10000, in UTC.
_FIRST, _END = calendar.FIRST_DAY * _DAY, (calendar.LAST_DAY + 1) * _DAY
_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

_MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_OFFSET = r"([Zz]|[+-][0-9]{2}:?[0-9]{2})"
# Texts that are read by the column.
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?"
_WITH_OFFSET = rf"^{calendar.DATE}[T ]{_TIME}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
_WITHOUT_OFFSET = rf"^{calendar.DATE}[T ]{_TIME}$"
# In a URL a plus sign means a space, and people forget to encode the one of an offset. It stands after the date, whose
# own space (in place of the T) is character 10.
_DATE_LENGTH = 11
_LOST_PLUS = re.compile(r"(?<=\d) (?=\d{2}:?\d{2}$)")

Values = npt.NDArray[np.int64]


class Timestamp(FieldType):
    name = "timestamp"
    limited_as = "timestamp"
    limits = ("zone",)
    bounded = True
    is_time = True
    codes = dict.fromkeys(
        ("string_pattern_mismatch", "datetime_parsing", "datetime_from_date_parsing"), "not_a_timestamp"
    )
    cutoff = "SELECT now() - %(keep)s"
    arrow_type = pa.timestamp("us", "UTC")
    sql_type = postgresql.TIMESTAMP(timezone=True)
    staging_type = "timestamptz"

    def check(self, field: FieldSpec) -> Iterator[Mistake]:
        if field.zone is not None and field.zone not in time_zones():
            yield "zone", "unknown_zone", f"{shorten(field.zone)} is not an IANA time zone such as Europe/Berlin"

    def describe(self, field: FieldSpec) -> str:
        offset = f"(without an offset: in the zone {field.zone})" if field.zone else "with an offset"
        bounds = columns.bounds_phrase(field, *calendar.BOUNDS)
        return f"an ISO 8601 timestamp {offset}{bounds}, to the microsecond, such as 2026-01-31T12:00:00Z"

    def schema(self, field: FieldSpec) -> CoreSchema:
        # The parser alone would take bare numbers as Unix seconds and dates as midnights.
        pattern = _MOMENT + (f"{_OFFSET}?$" if field.zone else f"{_OFFSET}$")
        zone = ZoneInfo(field.zone) if field.zone else None

        def to_utc(value: dt.datetime) -> dt.datetime:
            try:
                if value.tzinfo is None:
                    assert zone is not None
                    value = _localise(value, zone)
                return value.astimezone(dt.UTC)
            except OverflowError as error:
                raise PydanticCustomError("out_of_range", "is outside the years 1 to 9999 in UTC") from error

        moment: CoreSchema = schemas.no_info_after_validator_function(
            to_utc,
            schemas.chain_schema([schemas.str_schema(strict=True, pattern=pattern), schemas.datetime_schema()]),
        )
        if field.minimum is None and field.maximum is None:
            return moment
        low, high = self.bound(field, field.minimum), self.bound(field, field.maximum)
        return schemas.chain_schema([moment, schemas.datetime_schema(ge=low, le=high)])

    def from_query(self, text: str) -> Any:
        return text[:_DATE_LENGTH] + _LOST_PLUS.sub("+", text[_DATE_LENGTH:])

    def explain(self, field: FieldSpec, error: Mapping[str, Any]) -> tuple[str, str]:
        code, reason = super().explain(field, error)
        value = error.get("input")
        if isinstance(value, str) and _LOST_PLUS.search(value[_DATE_LENGTH:]):
            # In JSON within a URL it cannot be told from a text that is meant so.
            reason += "; in a URL the + of an offset is written %2B"
        return code, reason

    def show(self, value: Any) -> Any:
        return rfc3339(value)

    def shown_in(self, zone: ZoneInfo) -> Callable[[Any], Any]:
        return lambda value: rfc3339(value, zone)

    def accepted(self, field: FieldSpec) -> str:
        if field.zone:
            return f"timestamp (without a time zone: in the zone {field.zone}), or string"
        return "timestamp with a time zone, or string"

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        return columns.is_text(kind) or bool(
            pa.types.is_timestamp(kind) and (kind.tz is not None or field.zone is not None)
        )

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        """Take timestamps of any unit (whole microseconds), and texts; those without a zone are in the field's zone."""
        valid = columns.valid_mask(array)
        if pa.types.is_string(array.type):
            values, good = _read_texts(field, array)
        else:
            values, good = _microseconds(array)
            good &= valid
            if array.type.tz is None:
                values, good = _localise_column(values, good, ZoneInfo(field.zone or "UTC"))
        low, high = self.bound(field, field.minimum), self.bound(field, field.maximum)
        good &= columns.within(values, low and _to_microseconds(low), high and _to_microseconds(high))
        return columns.from_buffer(self.arrow(field), values, good), valid & ~good

    def from_scalar(self, scalar: pa.Scalar) -> Any:
        kind = scalar.type
        if not pa.types.is_timestamp(kind):
            return scalar.as_py()
        return _text(scalar.value, kind.unit) + ("" if kind.tz is None else "Z")

    def copy_fields(self, array: pa.Array) -> list[pa.Array]:
        # The slot of a null may hold any bits, so its difference may wrap around; nobody reads it.
        with np.errstate(over="ignore"):
            moments = columns.values_of(array, np.int64) - _POSTGRES_EPOCH
        return fixed_fields(array, big_endian(moments, ">i8"))

    def csv_cell(self, column: Expression) -> Expression:
        written = sa.func.to_char(sa.func.timezone("UTC", column), 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        return sa.func.replace(written, ".000000Z", "Z")

    def json_member(self, column: Expression) -> Expression:
        return self.csv_cell(column)


def _localise(value: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return the naive ``value`` in ``zone``; refuse times that the clock there skipped or showed twice."""
    first, second = value.replace(tzinfo=zone, fold=0), value.replace(tzinfo=zone, fold=1)
    if first.utcoffset() == second.utcoffset():
        return first
    # When a clock is put forward, the skipped times have a smaller offset before the change than after it.
    skipped = (first.utcoffset() or dt.timedelta()) < (second.utcoffset() or dt.timedelta())
    how = "does not exist" if skipped else "is ambiguous"
    raise PydanticCustomError("local_time", "{how} in the zone {zone}: give an offset", {"how": how, "zone": zone.key})


def _to_microseconds(moment: dt.datetime) -> int:
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)


def _text(value: int, unit: Literal["s", "ms", "us", "ns"]) -> str:
    text = str(np.datetime64(value, unit))
    # Nanoseconds are printed with 9 digits always; zeros at the end are no digits that could be lost.
    return text[:-3] if unit == "ns" and text.endswith("000") else text


def _microseconds(array: pa.Array) -> tuple[Values, columns.Mask]:
    """Return the values of a timestamp column in microseconds, and which of them that loses nothing of."""
    raw = columns.values_of(array, np.int64)
    per_second = _PER_SECOND[array.type.unit]
    low, high = _FIRST // 1_000_000 * per_second, _END // 1_000_000 * per_second
    # Nanoseconds of 64 bits end in the year 2262 and so never reach either limit.
    good = (raw >= low) & (raw < high) if array.type.unit != "ns" else np.ones(len(raw), np.bool_)
    if per_second > 1_000_000:
        return raw // 1000, good & (raw % 1000 == 0)
    return np.where(good, raw, 0) * (1_000_000 // per_second), good


def _read_texts(field: FieldSpec, array: pa.Array) -> tuple[Values, columns.Mask]:
    aware, good = calendar.cast_texts(array, _WITH_OFFSET, pa.timestamp("us", "UTC"))
    values = columns.values_of(aware, np.int64)
    good = good & (values >= _FIRST) & (values < _END)
    if field.zone is None or good.all():
        return values, good
    naive, local = calendar.cast_texts(array, _WITHOUT_OFFSET, pa.timestamp("us"))
    moments, local = _localise_column(columns.values_of(naive, np.int64), local, ZoneInfo(field.zone))
    return np.where(local, moments, values), good | local


def _localise_column(wall: Values, good: columns.Mask, zone: ZoneInfo) -> tuple[Values, columns.Mask]:
    """Return clock times of ``zone`` as moments, and for which that is certain.

    The offset is asked for once per hour that occurs. An hour in which it changes, or that the clock skips or shows
    twice, is left to single validation.
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


TYPE = Timestamp()
