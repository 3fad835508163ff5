"""Every step beside a plain reading of it: what becomes of one record, in JSON's own values."""

import datetime as dt
import hashlib
import hmac
import html
import json
import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Context, Decimal, InvalidOperation
from functools import partial
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from tests.support.pictures import IMAGES
from tests.support.steps import SECRET

Row = dict[str, Any]
Reference = Callable[[Row], list[Row]]

TEXTS = ["", " ", "NA", "null", "NaN", "None", "a", "Ä", "e\u0301", "ﬁ", " a  b ", "a;b;;c", "🌾", "\u2003x\u00a0"]
VALUES: dict[str, list[Any]] = {
    "text": TEXTS,
    "integer": [0, 1, -1, 7, 2**53 + 1, 2**63 - 1, -(2**63)],
    "float": [0.0, -0.0, 0.5, -2.0, 1e23, 5e-324, 1.7976931348623157e308, 9007199254740992.0],
    "decimal": ["0", "1.50", "1.5", "-0.010", "9007199254740993", "12345678901234567890123456789012345678", "7.00"],
    "boolean": [True, False],
    "timestamp": [
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999Z",
        "2026-01-31T23:30:00Z",
        "1969-12-31T23:59:59Z",
    ],
    "date": ["0001-01-01", "9999-12-31", "2026-01-31", "1969-12-31"],
    "duration": ["PT0S", "PT1.5S", "-P1D", "P106751991DT4H54.775807S"],
    "uuid": ["00000000-0000-0000-0000-000000000005", "ffffffff-ffff-ffff-ffff-ffffffffffff"],
    "json": [
        {},
        [],
        {"a": {"b": 1}},
        {"a": {"b": "2026-01-31"}},
        {"a": {"b": None}},
        [1, "x", None],
        ["y"],
        0,
        "NA",
        1.5,
    ],
    "vector": [[0.0, 1.0], [0.5, -0.25]],
    "image": IMAGES,
}
COLUMNS: dict[str, dict[str, Any]] = {
    "n": {"name": "n", "type": "integer"},
    **{type_: {"name": type_, "type": type_} for type_ in VALUES if type_ != "vector"},
    "vector": {"name": "vector", "type": "vector", "dimensions": 2},
}


WIDE = Context(prec=2000, Emax=999_999, Emin=-999_999)


class Unfit(Exception):
    """The record does not fit."""


Expected = tuple[list[tuple[int, Row]], list[int]]
"""Rows, each with its record (the first, where it was made of several), and the records that do not fit."""


@dataclass(frozen=True)
class Case:
    """step: as users write it. reference: the rows that become of one; raises Unfit. values: of some columns, in place
    of those that are drawn else."""

    step: Mapping[str, Any]
    reference: Reference
    values: Mapping[str, st.SearchStrategy[Any]] = field(default_factory=dict)
    may_be_cut: ClassVar[bool] = True

    def expected(self, rows: list[Row]) -> Expected:
        found: list[tuple[int, Row]] = []
        unfit = []
        for place, row in enumerate(rows):
            try:
                found += [(place, one) for one in self.reference(row)]
            except Unfit:
                unfit.append(place)
        return found, unfit

    @property
    def name(self) -> str:
        return name_of(self.step)


def name_of(step: Mapping[str, Any]) -> str:
    return "-".join(str(step[one]) for one in ("op", "column", "type", "format", "agg", "method") if one in step)


def to(name: str, function: Callable[[Any], Any], of: str | None = None) -> Reference:
    """The column ``name`` becomes what the function makes of a value that is not null."""
    return lambda row: [{**row, name: None if row[of or name] is None else function(row[of or name])}]


def rows_of(case: Any) -> st.SearchStrategy[list[Row]]:
    """Rows for a case: what the step names is drawn, all else goes past it in turn."""
    words = set(re.findall("[a-z]+", json.dumps(case.step)))
    drawn = {
        name: st.none() | case.values.get(name, st.sampled_from(values))
        for name, values in VALUES.items()
        if name in words
    }

    def complete(rows: list[Row]) -> list[Row]:
        passing = {name: [None, *values] for name, values in VALUES.items()}
        return [
            {"n": n, **{name: values[n % len(values)] for name, values in passing.items()}, **row}
            for n, row in enumerate(rows)
        ]

    return st.lists(st.fixed_dictionaries(drawn), max_size=12).map(complete)


def _unless(bad: Callable[..., bool], function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def checked(value: Any) -> Any:
        if bad(value):
            raise Unfit
        return function(value)

    return checked


def _number(text: str, decimal: str = ".", thousands: str | None = None) -> Decimal:
    """Read digit by digit: sign, groups, mark, fraction, exponent."""
    text = text.strip()
    sign = text[:1] if text[:1] in ("+", "-") else ""
    body, e, exponent = text[len(sign) :].replace("E", "e").partition("e")
    whole, _, fraction = body.partition(decimal)
    groups = whole.split(thousands) if thousands else [whole]
    good = all(c in "0123456789" for c in "".join(groups) + fraction + exponent.lstrip("+-"))
    good = good and (not e or re.fullmatch("[+-]?[0-9]{1,3}", exponent) is not None)
    if len(groups) > 1:
        sizes = [len(group) for group in groups]
        west = 1 <= sizes[0] <= 3 and all(size == 3 for size in sizes[1:])
        india = len(sizes) > 2 and 1 <= sizes[0] <= 2 and sizes[-1] == 3 and all(size == 2 for size in sizes[1:-1])
        good = good and (west or india)
    if not good or not (whole or fraction):
        raise Unfit
    try:
        return Decimal(f"{sign}{''.join(groups) or '0'}{'.' if fraction else ''}{fraction}e{exponent or '0'}")
    except InvalidOperation as error:
        raise Unfit from error


def _integer(text: str, **marks: Any) -> int:
    found = _number(text, **marks)
    if not re.fullmatch("[^.,eE]*", text.strip().replace(marks.get("thousands") or ",,", "")) or abs(found) > 2**63:
        raise Unfit
    if not -(2**63) <= int(found) < 2**63:
        raise Unfit
    return int(found)


def _float(text: str) -> float:
    value = float(_number(text))
    if abs(value) == float("inf"):
        raise Unfit
    # The sign of zero is that of the text.
    return -0.0 if value == 0 and text.strip().startswith("-") else value


def _decimal(text: str, **marks: Any) -> str:
    return _written(_number(text, **marks))


def _written(number: Decimal) -> str:
    """38 digits and 38 places behind the point; zeros at the end say nothing about whether it fits."""
    for one in (number, WIDE.create_decimal(number).normalize(WIDE)):
        _, digits, exponent = one.as_tuple()
        assert isinstance(exponent, int)
        if not number or (len(digits) <= 38 and -exponent <= 38 and len(digits) + exponent <= 38):
            places = min(38, max(0, -int(number.as_tuple().exponent)))
            fixed = number.quantize(Decimal(1).scaleb(-places), context=WIDE)
            return f"{fixed if fixed else abs(fixed):f}"
    raise Unfit


def _strptime(text: str, format_: str) -> dt.datetime:
    try:
        return dt.datetime.strptime(text.strip(), format_)
    except ValueError as error:
        raise Unfit from error


def _moment(value: dt.datetime) -> str:
    try:
        return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
    except OverflowError as error:
        raise Unfit from error


def _in_berlin(text: str) -> str:
    local = _strptime(text, "%Y-%m-%d %H:%M:%S.%f")
    zone = ZoneInfo("Europe/Berlin")
    moment = local.replace(tzinfo=zone)
    # The hour that a clock change leaves out does not exist, and of the doubled one nobody knows which is meant.
    if _moment(moment) != _moment(moment.replace(fold=1)):
        raise Unfit
    return _moment(moment)


def _truth(text: str) -> bool:
    found = {"yes": True, "ja": True, "no": False}.get(text.strip().lower())
    if found is None:
        raise Unfit
    return found


def _member(value: Any, *types: type) -> Any:
    found = (
        value["a"]["b"] if isinstance(value, dict) and isinstance(value.get("a"), dict) and "b" in value["a"] else None
    )
    if found is not None and (not isinstance(found, types) or isinstance(found, bool)):
        raise Unfit
    return found


def _exploded(row: Row) -> list[Row]:
    value = [] if row["json"] is None else row["json"]
    if not isinstance(value, list):
        raise Unfit
    others = {name: one for name, one in row.items() if name != "json"}
    return [{**others, "member": member, "place": place} for place, member in enumerate(value or [None], 1)]


def _exploded_texts(row: Row) -> list[Row]:
    rows = [] if row["json"] in (None, []) else _exploded(row)
    if any(not isinstance(one["member"], str | None) for one in rows):
        raise Unfit
    return [
        {**{name: one[name] for name in one if name not in ("json", "member", "place")}, "json": one["member"]}
        for one in rows
    ]


def _split(row: Row, rest: str) -> list[Row]:
    parts = [] if row["text"] is None else row["text"].split(";", 1 if rest == "keep" else -1)
    if rest == "error" and len(parts) > 2:
        raise Unfit
    parts = [*parts[:2], None, None]
    return [{**row, "first": parts[0], "second": parts[1]}]


def _cleaned(text: str) -> str | None:
    text = re.sub(r"(?is)<!--.*?-->|<(script|style)\b.*?</\1\s*>", " ", text)
    text = re.sub(r"(?i)</?(?:p|br|div)>", " ", text)
    text = html.unescape(re.sub(r"(?i)</?[a-z][^<>]*>", "", text))
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return " ".join(text.split()) or None


def _clipped(low: Any, high: Any, key: Callable[[Any], Any] = lambda value: value) -> Callable[[Any], Any]:
    return lambda value: low if key(value) < key(low) else high if key(value) > key(high) else value


def _scaled(value: Any, fitted: dict[str, float]) -> float:
    low = fitted.get("mean", fitted.get("minimum", fitted.get("median", 0.0)))
    width = fitted.get("deviation")
    if width is None:
        width = fitted["maximum"] - low if "maximum" in fitted else fitted["upper_quartile"] - fitted["lower_quartile"]
    found = (float(value) - low) / width if width else 0.0
    if abs(found) == float("inf"):
        raise Unfit
    return found


def _chunks(row: Row) -> list[Row]:
    """For the embedder ``hashing``, whose tokens are words; the texts are shorter than a part may be."""
    others = {name: one for name, one in row.items() if name != "text"}
    return [{**others, "part": row["text"], "place": 1}]


_DIGITS = st.text("0123456789.,-+ e'", max_size=8)
_AMOUNTS = st.sampled_from(
    ["1.234,50", "1.23", " 007,0 ", "12.34.567", "-,5", "1234.567,8", "", "1.2345", "0", "-0,0", "1'0"]
)
_DAY_TEXTS = st.dates().map(lambda day: day.strftime("%d/%m/") + f"{day.year:04}") | st.text(
    "0123/", min_size=8, max_size=10
)
_STAMPS = st.sampled_from(
    ["2026-03-29 02:30:00.000001", "2026-10-25 02:30:00.5", "1900-01-01 0:0:0.0", "2026-02-29 1:1:1.1"]
)
_HTML = st.lists(
    st.sampled_from(
        [
            "a",
            "B",
            " ",
            "\n",
            "<b>",
            "</b>",
            "<p>",
            "<br>",
            "&amp;",
            "&#228;",
            "&",
            "<",
            "ﬁ",
            "<!--x-->",
            "<script>x</script>",
        ]
    ),
    max_size=8,
).map("".join)
_CLIPS: dict[str, tuple[Any, Any, Callable[[Any], Any]]] = {
    "integer": (0, 2**53 + 1, lambda value: value),
    "float": (-1.5, 1e23, lambda value: value),
    "decimal": ("0.50", "1.50", Decimal),
    "timestamp": ("1970-01-01T00:00:00Z", "2026-01-31T23:30:00Z", lambda value: value),
    "date": ("1970-01-01", "2026-01-30", lambda value: value),
    "duration": (
        "PT0S",
        "PT1S",
        lambda value: ["-P1D", "PT0S", "PT1S", "PT1.5S", "P106751991DT4H54.775807S"].index(value),
    ),
}
_TO_TEXT = {"boolean": lambda value: "true" if value else "false", "float": repr}
_CASTS = [
    ("integer", "float", _unless(lambda value: int(float(value)) != value, float)),
    ("integer", "decimal", str),
    ("float", "integer", _unless(lambda value: value != int(value) or abs(value) >= 2**63, int)),
    ("float", "decimal", lambda value: _written(Decimal(repr(value)))),
    (
        "decimal",
        "integer",
        _unless(
            lambda value: Decimal(value) != int(Decimal(value)) or abs(Decimal(value)) >= 2**63,
            lambda value: int(Decimal(value)),
        ),
    ),
    ("decimal", "float", float),
    ("boolean", "integer", int),
    ("timestamp", "date", lambda value: value[:10]),
    *(
        (type_, "text", _TO_TEXT.get(type_, str))
        for type_ in ("integer", "float", "decimal", "boolean", "timestamp", "date", "duration", "uuid")
    ),
]
CASES = [
    Case(
        {"op": "select", "columns": ["n", "text", "vector"]},
        lambda row: [{name: row[name] for name in ("n", "text", "vector")}],
    ),
    Case({"op": "drop", "columns": ["text"]}, lambda row: [{name: row[name] for name in row if name != "text"}]),
    Case(
        {"op": "rename", "columns": {"text": "json", "json": "text", "vector": "v"}},
        lambda row: [
            {
                **{k: v for k, v in row.items() if k != "vector"},
                "json": row["text"],
                "text": row["json"],
                "v": row["vector"],
            }
        ],
    ),
    *(
        Case(
            {"op": "fill", "column": name, "value": values[0]},
            lambda row, name=name, value=values[0]: [{**row, name: value if row[name] is None else row[name]}],
        )
        for name, values in VALUES.items()
    ),
    *(
        Case({"op": "clip", "column": name, "minimum": low, "maximum": high}, to(name, _clipped(low, high, key)))
        for name, (low, high, key) in _CLIPS.items()
    ),
    *(
        Case({"op": "cast", "column": source, "type": type_, "as": "made"}, to("made", function, source))
        for source, type_, function in _CASTS
    ),
    Case(
        {"op": "cast", "column": "text", "type": "integer", "as": "made"},
        to("made", _integer, "text"),
        {"text": _DIGITS},
    ),
    Case(
        {"op": "cast", "column": "text", "type": "float", "as": "made"}, to("made", _float, "text"), {"text": _DIGITS}
    ),
    Case(
        {"op": "cast", "column": "text", "type": "decimal", "as": "made"},
        to("made", _decimal, "text"),
        {"text": _DIGITS},
    ),
    Case(
        {"op": "cast", "column": "text", "type": "decimal", "as": "made", "decimal": ",", "thousands": "."},
        to("made", lambda text: _decimal(text, decimal=",", thousands="."), "text"),
        {"text": _AMOUNTS | _DIGITS},
    ),
    Case(
        {
            "op": "cast",
            "column": "text",
            "type": "integer",
            "as": "made",
            "thousands": "'",
            "otherwise": "null",
            "nulls": [""],
        },
        lambda row: [{**row, "made": _or_null(lambda text: _integer(text, thousands=("'")), row["text"])}],
        {"text": _AMOUNTS | _DIGITS},
    ),
    Case(
        {"op": "cast", "column": "text", "type": "date", "as": "made", "format": "%d/%m/%Y"},
        to("made", lambda text: _strptime(text, "%d/%m/%Y").date().isoformat(), "text"),
        {"text": _DAY_TEXTS},
    ),
    Case(
        {
            "op": "cast",
            "column": "text",
            "type": "timestamp",
            "as": "made",
            "format": "%Y-%m-%d %H:%M:%S.%f",
            "zone": "Europe/Berlin",
        },
        to("made", _in_berlin, "text"),
        {"text": _STAMPS | st.datetimes().map(lambda at: f"{at.year:04}" + at.strftime("-%m-%d %H:%M:%S.%f"))},
    ),
    Case(
        {"op": "cast", "column": "text", "type": "timestamp", "as": "made", "format": "%a, %d %b %y %I:%M %p %z"},
        to("made", lambda text: _moment(_strptime(text, "%a, %d %b %y %I:%M %p %z")), "text"),
        {
            "text": st.datetimes(
                timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=-5, minutes=-30))])
            ).map(lambda at: at.strftime("%a, %d %b %y %I:%M %p %z"))
            | st.sampled_from(["x", "Mon, 30 Feb 26 01:00 AM Z"])
        },
    ),
    Case(
        {"op": "cast", "column": "text", "type": "boolean", "as": "made", "true": ["yes", "Ja"], "false": ["no"]},
        to("made", _truth, "text"),
        {"text": st.sampled_from(["yes", " YES", "jA", "no", "", "true", "ja nein"])},
    ),
    Case({"op": "derive", "as": "made", "value": "text + '!'"}, to("made", lambda text: text + "!", "text")),
    Case({"op": "filter", "condition": "integer > 0"}, lambda row: [row] if (row["integer"] or 0) > 0 else []),
    Case(
        {"op": "filter", "where": {"decimal": {"ge": "1.5"}}},
        lambda row: [row] if Decimal(row["decimal"] or 0) >= Decimal("1.5") else [],
    ),
    Case(
        {"op": "map", "column": "decimal", "as": "made", "values": {"1.5": 1}, "type": "integer"},
        to("made", lambda value: 1 if Decimal(value) == Decimal("1.5") else None, "decimal"),
    ),
    Case(
        {"op": "json_extract", "column": "json", "path": "a.b", "as": "made"},
        to("made", lambda value: _member(value, str), "json"),
    ),
    Case(
        {"op": "json_extract", "column": "json", "path": "a.b", "as": "made", "type": "integer"},
        to("made", lambda value: _member(value, int), "json"),
    ),
    Case(
        {"op": "json_extract", "column": "json", "path": "a.b", "as": "made", "type": "date", "otherwise": "null"},
        to("made", lambda value: _or_null(lambda one: _member(one, str), value), "json"),
    ),
    Case(
        {"op": "json_extract", "column": "json", "path": "a", "as": "made", "type": "json"},
        to("made", lambda value: value.get("a") if isinstance(value, dict) else None, "json"),
    ),
    Case({"op": "explode", "column": "json", "as": "member", "place": "place"}, _exploded),
    Case({"op": "explode", "column": "json", "type": "text", "empty": "drop"}, _exploded_texts),
    Case(
        {"op": "split", "column": "text", "separator": ";", "into": ["first", "second"]},
        lambda row: _split(row, "error"),
    ),
    Case(
        {"op": "split", "column": "text", "separator": ";", "into": ["first", "second"], "rest": "keep"},
        lambda row: _split(row, "keep"),
    ),
    Case(
        {"op": "split", "column": "text", "separator": ";", "into": ["first", "second"], "rest": "drop"},
        lambda row: _split(row, "drop"),
    ),
    Case(
        {"op": "split", "column": "text", "separator": ";", "as": "parts"},
        to("parts", lambda text: text.split(";"), "text"),
    ),
    Case({"op": "text_clean", "column": "text"}, to("text", lambda text: unicodedata.normalize("NFC", text).strip())),
    Case(
        {
            "op": "text_clean",
            "column": "text",
            "tags": True,
            "form": "NFKC",
            "case": "fold",
            "spaces": True,
            "empty_is_null": True,
        },
        to("text", _cleaned),
        {"text": _HTML},
    ),
    Case(
        {"op": "pseudonymise", "column": "text", "as": "made", "secret": "example"},
        to("made", lambda text: hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).hexdigest(), "text"),
    ),
    *(
        Case(
            {"op": "normalise", "column": column, "as": "made", "method": method, "fitted": fitted},
            to("made", partial(_scaled, fitted=fitted), column),
        )
        for column, method, fitted in (
            ("integer", "zscore", {"mean": 3.5, "deviation": 0.3}),
            ("float", "minmax", {"minimum": -1.0, "maximum": 2.0}),
            ("float", "zscore", {"mean": 0.1, "deviation": 1e-300}),
            ("decimal", "robust", {"median": 1.5, "lower_quartile": 1.0, "upper_quartile": 4.0}),
            ("decimal", "zscore", {"mean": 1.5, "deviation": 0.0}),
        )
    ),
    Case({"op": "normalise", "column": "integer", "as": "made"}, lambda row: [{**row, "made": None}]),
    Case({"op": "chunk_text", "column": "text", "as": "part", "place": "place", "embedder": "hashing"}, _chunks),
]


def _or_null(function: Callable[[Any], Any], value: Any) -> Any:
    try:
        return None if value in (None, "") else function(value)
    except Unfit:
        return None


def canonical(row: Row) -> str:
    """Return a row as a text in which 1, 1.0 and true differ, and so do 0.0 and -0.0."""
    return json.dumps(row, sort_keys=True)


def alike(found: list[Row], expected: list[Row], given: list[Row], step: Mapping[str, Any]) -> bool:
    """Say whether the rows are equal: floats to 1e-12 of the largest number that they were made of, else exactly."""
    named = [name for name in COLUMNS if f'"{name}"' in json.dumps(step)]
    numbers = (abs(row[name]) for row in given for name in named if isinstance(row[name], int | float))
    scale = max(numbers, default=0)
    floats = [[{k: v for k, v in row.items() if isinstance(v, float)} for row in rows] for rows in (found, expected)]
    rest = [
        [canonical({**row, **dict.fromkeys(other)}) for row, other in zip(*both, strict=True)]
        for both in ((found, floats[0]), (expected, floats[1]))
    ]
    if rest[0] != rest[1] or [set(one) for one in floats[0]] != [set(one) for one in floats[1]]:
        return False
    return all(
        math.isclose(one[name], other[name], rel_tol=1e-12, abs_tol=1e-12 * scale)
        for one, other in zip(*floats, strict=True)
        for name in one
    )
