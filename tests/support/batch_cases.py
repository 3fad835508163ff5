"""Steps that work per batch beside a plain reading of whole batches, in JSON's own values."""

import datetime as dt
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from typing import Any, ClassVar

from hypothesis import strategies as st

from tests.support.step_cases import COLUMNS, VALUES, WIDE, Expected, Row, Unfit, name_of

Whole = Callable[[list[Row]], Expected]
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


@dataclass(frozen=True)
class BatchCase:
    """step: as users write it. reference: what becomes of a batch. values: of some columns, in place of those that are
    drawn else."""

    step: Mapping[str, Any]
    reference: Whole
    values: Mapping[str, st.SearchStrategy[Any]] = field(default_factory=dict)
    may_be_cut: ClassVar[bool] = False

    @property
    def name(self) -> str:
        return name_of(self.step)

    def expected(self, rows: list[Row]) -> Expected:
        return self.reference(rows)


def order_of(type_: str, value: Any) -> Any:
    """What orders and compares like a value."""
    if type_ == "decimal":
        return Decimal(value)
    if type_ == "timestamp":
        return dt.datetime.fromisoformat(value)
    if type_ == "date":
        return dt.date.fromisoformat(value)
    return VALUES["duration"].index(value) if type_ == "duration" else value


# From the longest of the negative ones on.
_LENGTHS = {"PT0S": 0, "PT1.5S": 1_500_000, "-P1D": -86_400_000_000, "P106751991DT4H54.775807S": 2**63 - 1}


def duration_text(microseconds: int) -> str:
    found = {value: text for text, value in _LENGTHS.items()} | {3_000_000: "PT3S"}
    return found[microseconds]


def rank(type_: str, value: Any) -> tuple[bool, Any]:
    """What sorts values with null last."""
    if value is None:
        return (True, 0)
    return (False, _LENGTHS[value] if type_ == "duration" else order_of(type_, value))


def group_of(row: Row, by: Sequence[str]) -> tuple[Any, ...]:
    return tuple(rank(name, row[name]) for name in by)


def fits(value: int | None) -> int | None:
    if value is not None and not -(2**63) <= value < 2**63:
        raise Unfit
    return value


def decimal_text(value: Decimal, places: int) -> str:
    _, digits, exponent = value.normalize(WIDE).as_tuple()
    assert isinstance(exponent, int)
    if len(digits) + max(0, exponent) > 38 or -exponent > 38:
        raise Unfit
    places = max(min(places, 38 - max(0, len(digits) + exponent)), -exponent)
    return format(value.quantize(Decimal(1).scaleb(-places), context=WIDE), "f")


def places_of(values: Iterable[str]) -> int:
    return max(len(value.partition(".")[2]) for value in values)


def finite(value: float) -> float:
    if not math.isfinite(value):
        raise Unfit
    return value


def total(type_: str, values: list[Any]) -> Any:
    if type_ == "integer":
        return fits(sum(values))
    if type_ == "decimal":
        return decimal_text(_add(values), places_of(values))
    if type_ == "duration":
        return duration_text(fits(sum(_LENGTHS[one] for one in values)) or 0)
    try:
        return finite(math.fsum(values))
    except OverflowError:
        raise Unfit from None


def _add(values: list[str]) -> Decimal:
    found = Decimal(0)
    for one in values:
        found = WIDE.add(found, Decimal(one))
    return found


def mean(type_: str, values: list[Any]) -> Any:
    if type_ == "duration":
        return duration_text(round(Fraction(sum(_LENGTHS[one] for one in values), len(values))))
    if type_ != "decimal":
        return float(sum(map(Fraction, values)) / len(values))
    exact = Fraction(_add(values)) / len(values)
    return decimal_text(Decimal(round(exact * 10**20)).scaleb(-20, WIDE), 0)


def stddev(values: list[Any]) -> float | None:
    if len(values) < 2:
        return None
    exact = [Fraction(float(one)) for one in values]
    middle = sum(exact) / len(exact)
    return math.sqrt(sum((one - middle) ** 2 for one in exact) / (len(exact) - 1))


def quantile(values: list[Any], part: float) -> float:
    exact = sorted(Fraction(float(one)) for one in values)
    place = Fraction(part) * (len(exact) - 1)
    low = math.floor(place)
    high = min(low + 1, len(exact) - 1)
    return float(exact[low] + (exact[high] - exact[low]) * (place - low))


def aggregate(agg: str, type_: str, values: Iterable[Any], part: float = 0.5) -> Any:
    """The aggregate of values in their order; nulls are passed over. Raises Unfit."""
    known = [value for value in values if value is not None]
    if agg == "count":
        return len(known)
    if agg == "distinct":
        return len({rank(type_, value) for value in known})
    if not known:
        return None
    if agg in ("min", "max"):
        return (min if agg == "min" else max)(known, key=lambda value: rank(type_, value)[1])
    if agg in ("first", "last"):
        return known[0 if agg == "first" else -1]
    if agg in ("median", "quantile"):
        return quantile(known, part)
    if agg == "stddev":
        return stddev(known)
    return {"sum": total, "mean": mean}[agg](type_, known)


def series(rows: list[Row], by: Sequence[str], time: str | None) -> list[list[int]]:
    """The rows of each group in their order; those without a time are in none. The key of these contracts is empty."""
    groups: dict[Any, list[int]] = {}
    for place, row in enumerate(rows):
        if time is None or row[time] is not None:
            groups.setdefault(group_of(row, by), []).append(place)
    if time is not None:
        for places in groups.values():
            places.sort(key=lambda place: rank(time, rows[place][time]))
    return [groups[name] for name in sorted(groups)]


def along(step: Mapping[str, Any], of: Callable[[list[Row], list[int], int], Any]) -> Whole:
    """Each row gets what the function makes of its series and its place in it; rows that are in none get null."""
    target = step.get("as", step["column"])

    def reference(rows: list[Row]) -> Expected:
        made: list[Any] = [None] * len(rows)
        unfit = set()
        for places in series(rows, step.get("by", ()), step.get("time")):
            for at, place in enumerate(places):
                try:
                    made[place] = of(rows, places, at)
                except Unfit:
                    unfit.add(place)
        kept = [place for place in range(len(rows)) if place not in unfit]
        return [(place, {**rows[place], target: made[place]}) for place in kept], sorted(unfit)

    return reference


def rolling(step: Mapping[str, Any]) -> BatchCase:
    column, time = step["column"], step.get("time")
    length = {"2d": dt.timedelta(days=2), "90s": 90 * SECOND, "1w": dt.timedelta(days=7)}.get(step["window"])

    def of(rows: list[Row], places: list[int], at: int) -> Any:
        if length is None:
            inside = places[max(0, at + 1 - step["window"]) : at + 1]
        else:
            moments = [order_of(time, rows[place][time]) for place in places[: at + 1]]
            # Later than a window ago; the first moments have no such moment before them.
            inside = [one for one, moment in zip(places, moments, strict=False) if moments[at] - moment < length]
        found = [rows[place][column] for place in inside]
        known = sum(one is not None for one in found)
        if known < step.get("min_periods", 1):
            return None
        return aggregate(step["agg"], _TYPES[column], found, step.get("q", 0.5))

    return BatchCase(step, along(step, of), _SMALL)


def cumulative(step: Mapping[str, Any]) -> BatchCase:
    column = step["column"]
    return BatchCase(
        step,
        along(
            step,
            lambda rows, places, at: aggregate(
                step["agg"], _TYPES[column], [rows[place][column] for place in places[: at + 1]]
            ),
        ),
        _SMALL,
    )


def lag(step: Mapping[str, Any]) -> BatchCase:
    def of(rows: list[Row], places: list[int], at: int) -> Any:
        there = at - step.get("rows", 1)
        return rows[places[there]][step["column"]] if 0 <= there < len(places) else None

    return BatchCase(step, along(step, of), _SMALL)


def diff(step: Mapping[str, Any]) -> BatchCase:
    def of(rows: list[Row], places: list[int], at: int) -> Any:
        there = at - step.get("rows", 1)
        pair = [rows[place][step["column"]] for place in (places[at], *places[there : there + 1])]
        if there < 0 or len(pair) < 2 or None in pair:
            return None
        type_ = _TYPES[step["column"]]
        here, before = (order_of(type_, one) for one in pair)
        if type_ == "integer":
            return fits(here - before)
        if type_ == "decimal":
            return decimal_text(WIDE.subtract(here, before), places_of(pair))
        return finite(here - before) if type_ == "float" else (here - before).days

    return BatchCase(step, along(step, of), _SMALL)


def ewm(step: Mapping[str, Any]) -> BatchCase:
    alpha = step.get("alpha") or 2 / (step.get("span", 1) + 1)

    def of(rows: list[Row], places: list[int], at: int) -> Any:
        weights, weighted = Fraction(0), Fraction(0)
        for there in range(at + 1):
            value = rows[places[there]][step["column"]]
            if value is None:
                continue
            weight = Fraction(1 - alpha) ** (at - there)
            if "half_life" in step:
                moments = [order_of(step["time"], rows[places[one]][step["time"]]) for one in (there, at)]
                weight = Fraction(2.0 ** -((moments[1] - moments[0]) / (90 * SECOND)))
            weights, weighted = weights + weight, weighted + weight * Fraction(value)
        return None if not weights else float(weighted / weights)

    return BatchCase(step, along(step, of), _SMALL)


def as_float(value: float) -> float:
    if isinstance(value, int) and int(float(value)) != value:
        raise Unfit
    return float(value)


def fill(step: Mapping[str, Any]) -> BatchCase:
    column, method = step["column"], step["method"]

    def of(rows: list[Row], places: list[int], at: int) -> Any:
        found = [rows[place][column] for place in places]
        if method == "mean":
            filled = aggregate("mean", _TYPES[column], found) if found[at] is None else found[at]
            return as_float(filled) if _TYPES[column] == "integer" and filled is not None else filled
        before = next((one for one in range(at, -1, -1) if found[one] is not None), None)
        behind = next((one for one in range(at, len(found)) if found[one] is not None), None)
        if method in ("previous", "next"):
            there = before if method == "previous" else behind
            return None if there is None else found[there]
        if before is None or behind is None:
            return None
        if before == behind:
            return as_float(found[at])
        time = step.get("time")
        start, here, end = (
            one if time is None else (order_of(time, rows[places[one]][time]) - dt.date.min).days
            for one in (before, at, behind)
        )
        share = Fraction(here - start, max(end - start, 1))
        return float(Fraction(found[before]) * (1 - share) + Fraction(found[behind]) * share)

    def reference(rows: list[Row]) -> Expected:
        made, unfit = along(step, of)(rows)
        # Rows without a time stay as they are.
        time, target = step.get("time"), step.get("as", column)
        kept = [
            (place, row if time is None or row[time] is not None else {**row, target: rows[place][column]})
            for place, row in made
        ]
        return kept, unfit

    return BatchCase(step, reference, _SMALL)


def drop_duplicates(step: Mapping[str, Any]) -> BatchCase:
    def reference(rows: list[Row]) -> Expected:
        found: dict[Any, int] = {}
        for place, row in enumerate(rows):
            name = group_of(row, step["columns"])
            if step.get("keep") == "last":
                found[name] = place
            else:
                found.setdefault(name, place)
        return [(place, rows[place]) for place in sorted(found.values())], []

    return BatchCase(step, reference)


def sort(step: Mapping[str, Any]) -> BatchCase:
    def reference(rows: list[Row]) -> Expected:
        places = list(range(len(rows)))
        for given in reversed(step["by"]):
            name = given.removeprefix("-")
            places.sort(key=lambda place: rank(name, rows[place][name]), reverse=given[0] == "-")
            if given[0] == "-":
                # Reversed twice: rows with the same values stay as they stand, and null stays last.
                known = sorted(
                    (place for place in places if rows[place][name] is not None),
                    key=lambda place: _Reversed(rank(name, rows[place][name])),
                )
                places = known + [place for place in places if rows[place][name] is None]
        return [(place, rows[place]) for place in places], []

    return BatchCase(step, reference)


@dataclass
class _Reversed:
    value: Any

    def __lt__(self, other: "_Reversed") -> bool:
        return bool(other.value < self.value)


def sample(step: Mapping[str, Any], most: Callable[[int], int]) -> BatchCase:
    """Numbers of 64 bits that are mixed; the rows of the smallest stay."""

    def mixed(place: int) -> int:
        found = (place + 1) * 0x9E3779B97F4A7C15 + step["seed"] * 0xD1342543DE82EF95
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
            found %= 2**64
            found = (found ^ (found >> shift)) * factor
        return found % 2**64

    def reference(rows: list[Row]) -> Expected:
        kept = sorted(sorted(range(len(rows)), key=mixed)[: most(len(rows))])
        return [(place, rows[place]) for place in kept], []

    return BatchCase(step, reference)


def melt(step: Mapping[str, Any]) -> BatchCase:
    def reference(rows: list[Row]) -> Expected:
        return [
            (place, {**{one: row[one] for one in step["index"]}, "of": name, "is": row[name]})
            for name in step["columns"]
            for place, row in enumerate(rows)
            if row[name] is not None or step["nulls"] == "keep"
        ], []

    return BatchCase(step, reference)


def group(step: Mapping[str, Any]) -> BatchCase:
    time = step.get("time")

    def reference(rows: list[Row]) -> Expected:
        groups: dict[Any, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(group_of(row, step["by"]), []).append(place)
        found = []
        for name in sorted(groups):
            places = groups[name]
            ordered = sorted(places, key=lambda place: rank(time, rows[place][time])) if time else places
            made = {one: rows[places[0]][one] for one in step["by"]}
            for measure in step["measures"]:
                column = measure.get("column")
                target = measure.get("as") or (f"{measure['agg']}_{column}" if column else measure["agg"])
                made[target] = len(places)
                if column:
                    # Rows without a time are no first and no last.
                    counted = [
                        place
                        for place in ordered
                        if not time or rows[place][time] is not None or measure["agg"] not in ("first", "last")
                    ]
                    values = [rows[place][column] for place in counted]
                    made[target] = aggregate(measure["agg"], _TYPES[column], values, measure.get("q", 0.5))
            found.append((places[0], made))
        return found, []

    return BatchCase(step, reference, _SMALL)


def resample(step: Mapping[str, Any]) -> BatchCase:
    """Buckets of minutes in UTC, by one column; test_resample.py has the calendars."""

    def reference(rows: list[Row]) -> Expected:
        groups: dict[Any, list[int]] = {}
        for place, row in enumerate(rows):
            if row["timestamp"] is not None:
                minute = order_of("timestamp", row["timestamp"]).replace(second=0, microsecond=0)
                groups.setdefault((minute, *group_of(row, step["by"])), []).append(place)
        found = []
        for name in sorted(groups):
            places = groups[name]
            shown = [_shown(name[0]), _shown_end(name[0])]
            made = {"start": shown[0], "end": shown[1], **{one: rows[places[0]][one] for one in step["by"]}}
            for measure in step["measures"]:
                values = [rows[place][measure["column"]] for place in places]
                made[f"{measure['agg']}_{measure['column']}"] = aggregate(
                    measure["agg"], _TYPES[measure["column"]], values
                )
            found.append((places[0], made))
        return found, []

    return BatchCase(step, reference, _SMALL)


def _shown(moment: dt.datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S}Z".rjust(20, "0")


def _shown_end(start: dt.datetime) -> str:
    # Time ends with the year 9999.
    last = start.replace(second=59, microsecond=999_999)
    return (
        "9999-12-31T23:59:59.999999Z" if last.replace(tzinfo=None) == dt.datetime.max else _shown(start + 60 * SECOND)
    )


def pivot(step: Mapping[str, Any]) -> BatchCase:
    values = step["values"] if isinstance(step["values"], dict) else {one: one for one in step["values"]}

    def reference(rows: list[Row]) -> Expected:
        groups: dict[Any, list[int]] = {}
        for place, row in enumerate(rows):
            groups.setdefault(group_of(row, step["index"]), []).append(place)
        found = []
        for name in sorted(groups):
            places = groups[name]
            made = {one: rows[places[0]][one] for one in step["index"]}
            for target, value in values.items():
                wanted = rank(step["columns"], value)
                here = [place for place in places if rank(step["columns"], rows[place][step["columns"]]) == wanted]
                made[target] = aggregate(
                    step["agg"], _TYPES[step["column"]], [rows[place][step["column"]] for place in here]
                )
            found.append((places[0], made))
        return found, []

    return BatchCase(step, reference, _SMALL)


_TYPES = {name: column["type"] for name, column in COLUMNS.items()}
# Sums of these stay in range, and squares of the floats are floats.
SMALL: dict[str, list[Any]] = {
    "integer": [0, 1, -1, 7, 2**53 + 1, 2**61, -(2**61)],
    "float": [0.0, -0.0, 0.5, -2.0, 0.1, 1e20, -1e20, 3e-5, 9007199254740992.0],
    "decimal": ["0", "1.50", "1.5", "-0.010", "9007199254740993", "7.00"],
    "duration": ["PT0S"],
    "timestamp": [
        "2026-01-31T23:30:00Z",
        "2026-01-31T23:30:00.500000Z",
        "2026-01-31T23:31:30Z",
        "2026-01-31T23:31:30.000001Z",
        *VALUES["timestamp"],
    ],
    "date": ["2026-01-31", "2026-02-01", "2026-02-02", "0001-01-01", "9999-12-31"],
}
_SMALL = {name: st.sampled_from(values) for name, values in SMALL.items()}
_ALL = [name for name in VALUES if name not in ("json", "vector", "image")]
_AGGREGATES = {
    "sum": ["integer", "float", "decimal", "duration"],
    "mean": ["integer", "float", "decimal", "duration"],
    "stddev": ["integer", "float", "decimal"],
    "min": _ALL,
    "max": _ALL,
    "first": _ALL,
    "last": _ALL,
    "count": [*_ALL, "json", "vector", "image"],
    "median": ["integer", "float"],
}
BATCH_CASES = [
    *(
        rolling({"op": "rolling", "column": name, "agg": agg, "window": 3, "by": ["boolean"], "as": "made"})
        for agg, names in _AGGREGATES.items()
        for name in names
        if name != "boolean"
    ),
    *(
        rolling({"op": "rolling", "column": name, "agg": agg, "window": "90s", "time": "timestamp", "as": "made"})
        for agg in ("sum", "mean", "max", "count", "last", "median")
        for name in ("integer", "float")
    ),
    rolling(
        {"op": "rolling", "column": "decimal", "agg": "mean", "window": "2d", "time": "date", "by": ["text", "boolean"]}
        | {"as": "made", "min_periods": 2}
    ),
    rolling(
        {"op": "rolling", "column": "float", "agg": "quantile", "q": 0.3, "window": "1w", "time": "timestamp"}
        | {"by": ["decimal"], "as": "made"}
    ),
    *(
        cumulative({"op": "cumulative", "column": name, "agg": agg, "by": ["text"], "as": "made"})
        for agg in ("count", "sum", "mean", "min", "max", "first")
        for name in _AGGREGATES[agg][:3]
    ),
    *(lag({"op": "lag", "column": name, "as": "made", "rows": 2, "by": ["boolean"]}) for name in VALUES),
    lag({"op": "lag", "column": "uuid", "as": "made", "rows": -1, "time": "timestamp"}),
    *(
        diff({"op": "diff", "column": name, "as": "made", "by": ["boolean"]})
        for name in ("integer", "float", "decimal", "date")
    ),
    ewm({"op": "ewm", "column": "float", "alpha": 0.3, "by": ["boolean"], "as": "made"}),
    ewm({"op": "ewm", "column": "integer", "span": 4.0, "as": "made", "time": "date"}),
    *(
        fill({"op": "fill", "column": name, "method": method, "by": ["boolean"], "as": "made"})
        for method in ("previous", "next")
        for name in VALUES
        if name != "boolean"
    ),
    *(fill({"op": "fill", "column": name, "method": "mean", "as": "made"}) for name in ("integer", "float", "decimal")),
    *(fill({"op": "fill", "column": name, "method": "linear", "as": "made"}) for name in ("integer", "float")),
    fill({"op": "fill", "column": "float", "method": "linear", "time": "date", "by": ["boolean"], "as": "made"}),
    *(drop_duplicates({"op": "drop_duplicates", "columns": [name]}) for name in _ALL),
    drop_duplicates({"op": "drop_duplicates", "columns": ["boolean", "decimal"], "keep": "last"}),
    *(sort({"op": "sort", "by": [name]}) for name in _ALL),
    sort({"op": "sort", "by": ["-float", "text", "-boolean"]}),
    *(
        melt(
            {"op": "melt", "index": ["json", "text"], "columns": names, "variable": "of", "value": "is", "nulls": nulls}
        )
        for names, nulls in ((["integer", "n"], "keep"), (["integer", "n"], "drop"), (["vector"], "drop"))
    ),
    sample({"op": "sample", "rows": 3, "seed": 2**63 - 1}, lambda count: min(count, 3)),
    sample({"op": "sample", "fraction": 0.5, "seed": 0}, lambda count: count // 2),
    *(
        group({"op": "group", "by": ["boolean"], "measures": [{"agg": agg, "column": name} for name in names]})
        for agg, names in _AGGREGATES.items()
        for names in ([name for name in names if name != "boolean"],)
    ),
    *(
        group({"op": "group", "by": [name], "measures": [{"agg": "count"}, {"agg": "distinct", "column": "text"}]})
        for name in _ALL
        if name != "text"
    ),
    group(
        {"op": "group", "by": [], "time": "timestamp"}
        | {"measures": [{"agg": "first", "column": "text"}, {"agg": "last", "column": "decimal", "as": "made"}]}
    ),
    group({"op": "group", "by": ["text"], "measures": [{"agg": "quantile", "column": "float", "q": 0.9}]}),
    resample(
        {"op": "resample", "every": "1m", "time": "timestamp", "by": ["boolean"]}
        | {"measures": [{"agg": "sum", "column": "integer"}, {"agg": "max", "column": "text"}]}
    ),
    *(
        pivot(
            {"op": "pivot", "index": ["boolean"], "columns": "text", "column": name, "agg": agg}
            | {"values": {"na": "NA", "nothing": None, "none": "None", "a": "a"}}
        )
        for agg, name in (("sum", "integer"), ("mean", "decimal"), ("count", "json"), ("max", "timestamp"))
    ),
]
