"""Reads what a request says of time: the zone, the buckets, the window."""

import datetime as dt
import re
from typing import Any

from pydantic_core import ValidationError

from gristmill.core.errors import Violation
from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.kit.buckets import DEFAULT_ORIGIN, Buckets
from gristmill.kit.spans import DAY, Span, parse_span
from gristmill.kit.time_zones import time_zones
from gristmill.kit.zone_changes import offsets_between
from gristmill.records.aggregate.schemas import AggregateRequest

UTC = "UTC"
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
# An offset of a thousand years leads from them to no year that there is not.
ORIGIN_YEARS = range(1000, 9000)
# The last day that every month has.
LAST_DAY = 28


def microseconds(moment: dt.datetime | dt.date) -> int:
    """Return a canonical value of a time field as microseconds since 1970 in UTC; a date as its midnight."""
    if not isinstance(moment, dt.datetime):
        moment = dt.datetime(moment.year, moment.month, moment.day, tzinfo=dt.UTC)
    return (moment - _EPOCH) // dt.timedelta(microseconds=1)


def read_zone(request: AggregateRequest, time: FieldSpec | None, found: list[Violation]) -> str:
    """Return the name of the zone whose calendar counts."""
    zone = request.zone
    if zone is None:
        return (time and time.zone) or UTC
    if zone not in time_zones():
        reason = f"zone={shorten(zone)} is no IANA time zone such as Europe/Berlin"
        found.append(Violation("/zone", "unknown_zone", reason, field="zone"))
        return UTC
    if time is not None and time.type == "date" and zone != UTC:
        reason = f"The time field {time.name} is a date, which is in no zone: leave zone out"
        found.append(Violation("/zone", "not_applicable", reason, field="zone"))
        return UTC
    return zone


def read_span(text: str, name: str, found: list[Violation]) -> Span | None:
    try:
        return parse_span(text)
    except ValueError as error:
        found.append(Violation(f"/{name}", "bad_duration", f"{name}: {shorten(text)}: {error}", field=name))
        return None


def read_buckets(request: AggregateRequest, contract: Contract, zone: str, found: list[Violation]) -> Buckets | None:
    """Return the buckets that are asked for; None without ``every``, and where something is wrong with them."""
    if request.every is None:
        for name, value in (("origin", request.origin), ("offset", request.offset)):
            if value is not None:
                reason = f"{name} says where buckets begin, and there are none: give every"
                found.append(Violation(f"/{name}", "not_applicable", reason, field=name))
        return None
    before = len(found)
    every = read_span(request.every, "every", found)
    if contract.time_field is None:
        reason = f"every needs a time field, and the contract of {contract.name} names none"
        found.append(Violation("/every", "no_time_field", reason, field="every"))
        return None
    time = contract.field(contract.time_field)
    if every is not None and every.unit == "microsecond":
        if time.type == "date":
            reason = f"The time field {time.name} is a date: buckets have at least a day (1d)"
            found.append(Violation("/every", "too_short", reason, field="every"))
        elif every.count >= DAY and request.origin is None:
            reason = (
                f"every={shorten(request.every)} is counted in elapsed time: say days (1d) for those of the calendar,"
                " or give an origin that the time is counted from"
            )
            found.append(Violation("/every", "too_long", reason, field="every"))
    origin = None if request.origin is None else _read_origin(request.origin, time, zone, found)
    offset = None if request.offset is None else read_span(request.offset, "offset", found)
    if every is None or len(found) > before:
        return None
    clock = DEFAULT_ORIGIN if origin is None else origin + offsets_between(zone, origin, origin).at(origin)
    if _is_late(clock, every, "origin", found):
        return None
    if offset is not None:
        if reason := _misfit(offset, every, time):
            found.append(Violation("/offset", "out_of_range", reason, field="offset"))
            return None
        clock = _later(clock, offset)
        if _is_late(clock, every, "offset", found):
            return None
    fixed = None
    if origin is not None and every.unit == "microsecond":
        fixed = origin + (0 if offset is None else offset.elapsed or 0)
    return Buckets(every, zone, clock, fixed)


def _read_origin(text: str, time: FieldSpec, zone: str, found: list[Violation]) -> int | None:
    plain = FieldSpec(name="origin", type=time.type, zone=zone if time.type == "timestamp" else None)
    whole = f"{text}T00:00:00" if time.type == "timestamp" and _DATE.fullmatch(text) else text
    try:
        origin = TYPES[time.type].parse(plain, whole)
        if origin.year not in ORIGIN_YEARS:
            reason = f"origin={shorten(text)} is not in the years {ORIGIN_YEARS[0]} to {ORIGIN_YEARS[-1]}"
            found.append(Violation("/origin", "out_of_range", reason, field="origin"))
            return None
        return microseconds(origin)
    except ValidationError as error:
        code, reason = TYPES[time.type].explain(plain, error.errors()[0])
        found.append(Violation("/origin", code, f"origin: {reason}", field="origin"))
        return None


def _misfit(offset: Span, every: Span, time: FieldSpec) -> str:
    """Return why buckets cannot begin so much later, or nothing."""
    if time.type == "date" and offset.unit == "microsecond":
        return f"The time field {time.name} is a date: an offset has whole days"
    if offset.unit == "month" and every.unit != "month":
        return "An offset of months is for buckets of months"
    longest = every.count if offset.unit == every.unit else (every.elapsed or every.count * LAST_DAY * DAY)
    if (offset.count if offset.unit == every.unit else (offset.elapsed or 0)) >= longest:
        return f"The offset {offset} is not shorter than the buckets, {every}"
    return ""


def _later(clock: int, offset: Span) -> int:
    if offset.unit != "month":
        return clock + (offset.elapsed or 0)
    moment = _EPOCH + dt.timedelta(microseconds=clock)
    month = moment.year * 12 + moment.month - 1 + offset.count
    return microseconds(moment.replace(year=month // 12, month=month % 12 + 1))


def _is_late(clock: int, every: Span, name: str, found: list[Violation]) -> bool:
    """Refuse buckets of months that would begin on a day that not every month has."""
    day = (_EPOCH + dt.timedelta(microseconds=clock)).day
    if every.unit != "month" or day <= LAST_DAY:
        return False
    reason = f"Buckets of months cannot begin on day {day}, which not every month has: at most day {LAST_DAY}"
    found.append(Violation(f"/{name}", "bad_origin", reason, field=name))
    return True


def read_window(request: AggregateRequest, contract: Contract, zone: str, found: list[Violation]) -> tuple[Any, Any]:
    """Return the bounds of the time field, both inclusive, None where there is none."""
    given = {name: text for name, text in (("start", request.start), ("end", request.end)) if text is not None}
    values: dict[str, Any] = {}
    for name, text in given.items():
        if contract.time_field is None:
            reason = f"{name} needs a time field, and the contract of {contract.name} names none: filter with where"
            found.append(Violation(f"/{name}", "no_time_field", reason, field=name))
            continue
        field = contract.field(contract.time_field)
        named = request.zone is not None and field.type == "timestamp"
        plain = FieldSpec(name=field.name, type=field.type, zone=zone if named else field.zone)
        try:
            values[name] = TYPES[field.type].parse(plain, text)
        except ValidationError as error:
            code, reason = TYPES[field.type].explain(plain, error.errors()[0])
            found.append(Violation(f"/{name}", code, f"{name}: {reason}", field=name))
    start, end = values.get("start"), values.get("end")
    if start is not None and end is not None and start > end:
        reason = f"start={request.start} is after end={request.end}"
        found.append(Violation("/start", "start_after_end", reason, field="start"))
    return start, end
