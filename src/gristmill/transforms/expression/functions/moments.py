"""Functions of timestamps, dates and durations. A zone is a name of the IANA list; without one it is UTC."""

import datetime as dt
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.kit.time_zones import time_zones
from gristmill.transforms.expression.functions.spec import Apply, Function, Parameter, gives, plain
from gristmill.transforms.expression.literals import read_cell
from gristmill.transforms.expression.tree import NoValue
from gristmill.transforms.expression.values import each
from gristmill.transforms.spec import Types


def _check_zone(value: Any) -> str | None:
    return None if value in time_zones() else f"{value[:60]!r} is no IANA time zone such as Europe/Berlin"


_ZONE = Parameter("zone", ("text",), constant=True, default="UTC", check=_check_zone)
_MOMENT = Parameter("moment", ("timestamp", "date"))
_TIME = Parameter("moment", ("timestamp",))
_DURATION = Parameter("duration", ("duration",))


def local(moment: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return a moment as clocks in the zone show it. Raises NoValue outside of the years 1 to 9999."""
    try:
        return moment.astimezone(zone)
    except OverflowError as error:
        raise NoValue("out_of_range", "in that zone the moment is outside the years 1 to 9999") from error


def _part(part: Callable[[Any], int], fast: Apply) -> Callable[..., Apply]:
    def make(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
        if types[0] == "date" or constants["zone"] == "UTC":
            return lambda array: fast(array).cast(pa.int64())
        zone = ZoneInfo(constants["zone"])
        return lambda array: each(lambda moment: part(local(moment, zone)), [array], "integer")

    return make


def _date(types: Sequence[str], constants: Mapping[str, Any], known: Types) -> Apply:
    if types[0] == "date":
        return lambda array: array
    if types[0] == "text":
        return lambda array: each(lambda text: read_cell(text, "date", known), [array], "date")
    zone = ZoneInfo(constants["zone"])
    return lambda array: each(lambda moment: local(moment, zone).date(), [array], "date")


def _weekday(array: pa.Array) -> pa.Array:
    return pc.day_of_week(array, count_from_zero=False, week_start=1)


_AT = "timestamp('2026-01-31T23:30:00Z')"
FUNCTIONS = [
    Function(
        name, [_MOMENT if of_dates else _TIME, _ZONE], gives("integer"), _part(part, fast), description,
        [(f"{name}({_AT})", value), (f"{name}({_AT}, 'Asia/Tokyo')", there)],
    )
    for name, of_dates, part, fast, description, value, there in (
        ("year", True, lambda m: m.year, pc.year, "The year.", 2026, 2026),
        ("month", True, lambda m: m.month, pc.month, "The month, 1 to 12.", 1, 2),
        ("day", True, lambda m: m.day, pc.day, "The day of the month.", 31, 1),
        ("weekday", True, lambda m: m.isoweekday(), _weekday, "The day of the week, Monday being 1, Sunday 7.", 6, 7),
        ("hour", False, lambda m: m.hour, pc.hour, "The hour, 0 to 23.", 23, 8),
        ("minute", False, lambda m: m.minute, pc.minute, "The minute, 0 to 59.", 30, 30),
        ("second", False, lambda m: m.second, pc.second, "The second, 0 to 59, without its fraction.", 0, 0),
    )
] + [
    Function(
        "date", [Parameter("value", ("date", "timestamp", "text")), _ZONE], gives("date"), _date,
        "The date: of a moment the one in the zone, of a text the one that is written.",
        [(f"date({_AT}, 'Asia/Tokyo')", "2026-02-01"), ("date('2026-01-31')", "2026-01-31")],
    ),
    Function(
        "seconds", [_DURATION], gives("float"),
        plain(lambda array: pc.divide(array.cast(pa.int64()).cast(pa.float64(), safe=False), 1e6)),
        "How many seconds the length of time has, as a float.", [("seconds(duration('PT1M0.5S'))", 60.5)],
    ),
    Function(
        "microseconds", [_DURATION], gives("integer"), plain(lambda array: array.cast(pa.int64())),
        "How many microseconds the length of time has.", [("microseconds(duration('PT1S'))", 1000000)],
    ),
]  # fmt: skip
