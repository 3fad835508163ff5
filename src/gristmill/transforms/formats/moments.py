"""Dates and times in the order that a format says, in the directives of ``strptime``: they become ISO 8601.

Names of months and weekdays are English. What is between the directives has to stand there as it is.
"""

import re
from collections.abc import Mapping

import pyarrow as pa
import pyarrow.compute as pc

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# The part of the moment that a directive gives, and what it matches; digits are those of ASCII.
_DIRECTIVES: Mapping[str, tuple[str, str]] = {
    "Y": ("year", "[0-9]{4}"),
    "y": ("year", "[0-9]{2}"),
    "m": ("month", "[0-9]{1,2}"),
    "b": ("month", "(?i:" + "|".join(name[:3] for name in _MONTHS) + ")"),
    "B": ("month", "(?i:" + "|".join(_MONTHS) + ")"),
    "d": ("day", "[0-9]{1,2}"),
    "H": ("hour", "[0-9]{1,2}"),
    "I": ("hour", "[0-9]{1,2}"),
    "p": ("half", "(?i:am|pm)"),
    "M": ("minute", "[0-9]{1,2}"),
    "S": ("second", "[0-9]{1,2}"),
    "f": ("fraction", "[0-9]{1,6}"),
    "z": ("offset", "(?:[Zz]|[+-][0-9]{2}:?[0-9]{2})"),
    "a": ("weekday", "(?i:" + "|".join(name[:3] for name in _DAYS) + ")"),
    "A": ("weekday", "(?i:" + "|".join(_DAYS) + ")"),
}
_MOST = 100
# By the last two digits, as POSIX has it: 69 to 99 are of the 20th century.
_YEARS = ([f"{year:02}" for year in range(100)], [str(year + (1900 if year >= 69 else 2000)) for year in range(100)])
_SHORT = ([name[:3].lower() for name in _MONTHS], [f"{month:02}" for month in range(1, 13)])
_LONG = ([name.lower() for name in _MONTHS], _SHORT[1])
_HOURS = (
    [f"{hour:02}{half}" for half in ("am", "pm") for hour in range(1, 13)],
    [f"{hour % 12 + 12 * afternoon:02}" for afternoon in (0, 1) for hour in range(1, 13)],
)


class Format:
    """A format that was read. parts: of the moment that it gives. ``has_offset``: ``%z`` is one of them."""

    def __init__(self, text: str) -> None:
        """Raises ValueError saying what is wrong with the format."""
        if len(text) > _MOST:
            raise ValueError(f"a format has at most {_MOST} characters")
        self._directives: dict[str, str] = {}
        pattern = ""
        for literal, directive in re.findall(r"([^%]+)|%(.?)", text, re.DOTALL):
            pattern += re.escape(literal) if literal else self._add(directive)
        self._pattern = f"^{pattern}$"
        self._check()

    @property
    def parts(self) -> frozenset[str]:
        return frozenset(self._directives)

    @property
    def has_offset(self) -> bool:
        return "offset" in self._directives

    def to_iso(self, texts: pa.Array, time: bool) -> pa.Array:
        """Return dates, or with ``time`` dates and times, as ISO 8601 writes them; null for what does not fit the
        format. That the day is one of the month is left to who reads them."""
        found = pc.extract_regex(texts, self._pattern)
        part = {name: pc.struct_field(found, name) for name in self._directives}
        joined = [self._year(part), "-", self._month(part), "-", _two(part["day"])]
        if time:
            joined += ["T", self._hour(part)]
            joined += [
                one for name in ("minute", "second") for one in (":", _two(part[name]) if name in part else "00")
            ]
            if "fraction" in part:
                joined += [".", pc.utf8_rpad(part["fraction"], 6, "0")]
            if "offset" in part:
                # With the colon, as columns of timestamps are read.
                written = pc.replace_substring_regex(part["offset"], "^([+-][0-9]{2}):?([0-9]{2})$", r"\1:\2")
                joined.append(pc.utf8_upper(written))
        return pc.binary_join_element_wise(*joined, "")

    def _year(self, part: Mapping[str, pa.Array]) -> pa.Array:
        return part["year"] if self._directives["year"] == "Y" else _look_up(part["year"], _YEARS)

    def _month(self, part: Mapping[str, pa.Array]) -> pa.Array:
        directive = self._directives["month"]
        if directive == "m":
            return _two(part["month"])
        return _look_up(pc.ascii_lower(part["month"]), _SHORT if directive == "b" else _LONG)

    def _hour(self, part: Mapping[str, pa.Array]) -> pa.Array | str:
        if "hour" not in part:
            return "00"
        if "half" not in part:
            return _two(part["hour"])
        return _look_up(pc.binary_join_element_wise(_two(part["hour"]), pc.ascii_lower(part["half"]), ""), _HOURS)

    def _add(self, directive: str) -> str:
        if directive == "%":
            return "%"
        if directive not in _DIRECTIVES:
            valid = ", ".join(f"%{one}" for one in (*_DIRECTIVES, "%"))
            raise ValueError(f"%{directive} is no directive here; they are: {valid}")
        part, pattern = _DIRECTIVES[directive]
        if part in self._directives:
            raise ValueError(f"the {part} is there twice, as %{self._directives[part]} and %{directive}")
        self._directives[part] = directive
        return f"(?P<{part}>{pattern})"

    def _check(self) -> None:
        for part, directives in (("year", "%Y or %y"), ("month", "%m, %b or %B"), ("day", "%d")):
            if part not in self._directives:
                raise ValueError(f"the {part} is missing: {directives}")
        for smaller, larger in (("minute", "hour"), ("second", "minute"), ("fraction", "second"), ("offset", "hour")):
            if smaller in self._directives and larger not in self._directives:
                raise ValueError(f"the {smaller} is there, and no {larger}")
        if ("half" in self._directives) != (self._directives.get("hour") == "I"):
            raise ValueError("%I and %p go together")


def _two(numbers: pa.Array) -> pa.Array:
    return pc.utf8_lpad(numbers, 2, "0")


def _look_up(texts: pa.Array, table: tuple[list[str], list[str]]) -> pa.Array:
    names, values = table
    return pc.take(pa.array(values), pc.index_in(texts, value_set=pa.array(names)))
