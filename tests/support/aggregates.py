"""What aggregates mean, in plain Python: slow, exact, and written from docs/semantics.md alone."""

import datetime as dt
import math
from collections.abc import Callable, Sequence
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import read_one_moment
from gristmill.kit.buckets import Buckets
from gristmill.kit.spans import parse_span

Row = dict[str, Any]
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)


def read_in_zone(zone: str) -> Callable[[Connection], None]:
    """Return what begins the transaction of an aggregate where Postgres has another zone."""

    def read(connection: Connection) -> None:
        read_one_moment(connection)
        connection.exec_driver_sql(f"SET LOCAL timezone = '{zone}'")

    return read


def us(moment: dt.datetime) -> int:
    return (moment - EPOCH) // MICROSECOND


def rounded(value: Fraction, places: int) -> Decimal:
    with localcontext() as context:
        context.prec = 200
        exact = Decimal(value.numerator) / Decimal(value.denominator)
        # Ties are seen exactly: in the fraction, not in its digits.
        scaled = value * 10**places
        whole = math.floor(scaled)
        rest = scaled - whole
        if rest != Fraction(1, 2):
            return exact.quantize(Decimal(1).scaleb(-places), ROUND_HALF_EVEN)
        return Decimal(whole + whole % 2).scaleb(-places)


def measure(agg: str, kind: str, values: Sequence[Any], q: float = 0.5) -> Any:
    """Return a measure of values that are in the order of time and key. kind: integer, float, decimal."""
    there = [value for value in values if value is not None]
    match agg:
        case "count":
            return len(there)
        case "distinct":
            return len(set(there))
    if not there:
        return None
    match agg:
        case "first":
            return there[0]
        case "last":
            return there[-1]
        case "min":
            return min(there)
        case "max":
            return max(there)
        case "sum":
            return math.fsum(there) if kind == "float" else sum(there)
    exact = [Fraction(value) for value in there]
    match agg:
        case "mean":
            mean = sum(exact) / len(exact)
            return rounded(mean, 8) if kind == "decimal" else float(mean)
        case "stddev":
            if len(exact) < 2:
                return None
            mean = sum(exact) / len(exact)
            return math.sqrt(float(sum((value - mean) ** 2 for value in exact) / (len(exact) - 1)))
        case "median" | "quantile":
            ordered = sorted(exact)
            place = Fraction(repr(q)) * (len(ordered) - 1)
            low = math.floor(place)
            high = min(low + 1, len(ordered) - 1)
            found = ordered[low] + (ordered[high] - ordered[low]) * (place - low)
            return rounded(found, 20) if kind == "decimal" else float(found)
    raise AssertionError(agg)


def grouped(
    records: Sequence[Row], body: Row, kinds: dict[str, str], everything: Callable[[], tuple[int, int]]
) -> list[Row]:
    """Return the rows of a request with ``every`` and ``by``; records: in the order of time and key, times aware.

    everything: the bounds of a window that are not named.
    """
    zone, by = body.get("zone", "UTC"), body.get("by", [])
    low, high = everything()
    layout = Buckets(parse_span(body["every"]), zone).layout(low, high)
    groups: dict[tuple[Any, ...], list[Row]] = {}
    for one in records:
        groups.setdefault((layout.bucket(us(one["at"])), *(one[name] for name in by)), []).append(one)
    rows: dict[tuple[Any, ...], Row] = {}

    def of(found: list[Row]) -> Row:
        made = {}
        for one in body["measures"]:
            field = one.get("field")
            values = [row[field] if field else 1 for row in found]
            made[one["as"]] = measure(one["agg"], kinds.get(field, ""), values, one.get("q", 0.5))
        return made

    for key, found in groups.items():
        rows[key] = of(found)
    if body.get("fill", "none") != "none":
        buckets, at = [], low
        while at <= high:
            buckets.append(layout.bucket(at))
            at = buckets[-1][1]
        for group in dict.fromkeys(key[1:] for key in groups) or ({} if by else {(): None}):
            for bucket in buckets:
                rows.setdefault((bucket, *group), of([]))
            _fill([rows[(bucket, *group)] for bucket in buckets], [one[0] for one in buckets], body)
    keys = sorted(rows, key=lambda key: (key[0], [(part is None, part or "") for part in key[1:]]))
    return [{"start": key[0][0], "end": key[0][1], **dict(zip(by, key[1:], strict=True)), **rows[key]} for key in keys]


def _fill(rows: list[Row], starts: list[int], body: Row) -> None:
    for one in body["measures"]:
        name = one["as"]
        given = [index for index, row in enumerate(rows) if row[name] is not None]
        before = [dict(row) for row in rows]
        for index, row in enumerate(rows):
            if row[name] is not None:
                continue
            low = max((place for place in given if place < index), default=None)
            high = min((place for place in given if place > index), default=None)
            if isinstance(body["fill"], dict):
                row[name] = body["fill"]["value"]
            elif body["fill"] == "previous" and low is not None:
                row[name] = before[low][name]
            elif body["fill"] == "linear" and low is not None and high is not None:
                left, right = Fraction(before[low][name]), Fraction(before[high][name])
                part = Fraction(starts[index] - starts[low], starts[high] - starts[low])
                row[name] = float(left + (right - left) * part)


def pivoted(rows: Sequence[Row], step: Row, kind: str) -> list[Row]:
    """Return what a pivot makes of rows that are in their order. kind: of the values."""
    index, key = step["index"], step["columns"]

    def order(value: Any) -> tuple[bool, Any]:
        # Null is the largest value.
        return (value is None, 0 if value is None else value)

    names = sorted({row[key] for row in rows}, key=order)
    cells: dict[tuple[Any, ...], dict[Any, list[Any]]] = {}
    for row in rows:
        group = cells.setdefault(tuple(row[name] for name in index), {})
        group.setdefault(row[key], []).append(row[step["column"]])
    found = []
    for group in sorted(cells, key=lambda values: [order(value) for value in values]):
        made: Row = dict(zip(index, group, strict=True))
        for name in names:
            values = cells[group].get(name, [])
            made[step["prefix"] + ("null" if name is None else str(name))] = (
                measure(step["agg"], kind, values) if step.get("agg") else (values[0] if values else None)
            )
        found.append(made)
    return found


def melted(rows: Sequence[Row], step: Row) -> list[Row]:
    return [
        {**{name: row[name] for name in step["index"]}, step["variable"]: name, step["value"]: row[name]}
        for row in rows
        for name in step["columns"]
    ]


def rolling(records: Sequence[Row], step: Row, kinds: dict[str, str]) -> list[Any]:
    """Return the values of a step for records in the order of time and key."""
    found = []
    for index, row in enumerate(records):
        mine = [one for one in records[: index + 1] if all(one[name] == row[name] for name in step.get("by", []))]
        if isinstance(step["window"], int):
            mine = mine[-step["window"] :]
        else:
            first = us(row["at"]) - (parse_span(step["window"]).elapsed or 0)
            mine = [one for one in mine if us(one["at"]) > first]
        values = [one[step["column"]] for one in mine]
        enough = sum(value is not None for value in values) >= step.get("min_periods", 1)
        found.append(measure(step["agg"], kinds[step["column"]], values) if enough else None)
    return found
