"""Lengths of time as texts: ``15m``, ``1d``, ``1mo``, or ISO 8601 (``PT15M``, ``P1D``, ``P1M``)."""

import re
from dataclasses import dataclass
from typing import Literal

RULE = (
    "a length of time greater than zero: a whole number with ms, s, m (minutes), h, d, w, mo (months), q or y, such as"
    " 15m, or ISO 8601, such as PT15M or P1M"
)
SECOND = 1_000_000
DAY = 86_400 * SECOND
# A thousand years: longer ones are mistakes, and moments end in the year 9999.
LONGEST_YEARS = 1000

Unit = Literal["microsecond", "day", "month"]

_SHORT = re.compile(r"([0-9]{1,18})(us|ms|s|mo|m|h|d|w|q|y)")
_ISO = re.compile(
    r"P(?:(?P<y>[0-9]{1,9})Y)?(?:(?P<mo>[0-9]{1,9})M)?(?:(?P<w>[0-9]{1,9})W)?(?:(?P<d>[0-9]{1,9})D)?"
    r"(?P<t>T(?:(?P<h>[0-9]{1,12})H)?(?:(?P<m>[0-9]{1,12})M)?(?:(?P<s>[0-9]{1,15})(?:\.(?P<f>[0-9]{1,6}))?S)?)?"
)
_FIXED = {"us": 1, "ms": 1000, "s": SECOND, "m": 60 * SECOND, "h": 3600 * SECOND}
_DAYS = {"d": 1, "w": 7}
_MONTHS = {"mo": 1, "q": 3, "y": 12}


@dataclass(frozen=True, slots=True)
class Span:
    """``count`` times ``unit``, at least one. A day and a month are those of the calendar, of no fixed length."""

    count: int
    unit: Unit

    @property
    def elapsed(self) -> int | None:
        """Microseconds, a day being 24 hours; None for months, which have no such length."""
        if self.unit == "month":
            return None
        return self.count * DAY if self.unit == "day" else self.count

    def __str__(self) -> str:
        if self.unit == "month":
            return f"P{self.count}M"
        if self.unit == "day":
            return f"P{self.count}D"
        seconds, fraction = divmod(self.count, SECOND)
        return f"PT{seconds}" + (f".{fraction:06}".rstrip("0") if fraction else "") + "S"


def parse_span(text: str) -> Span:
    """Return what ``text`` says. Raises ValueError, whose message says what is valid.

    Weeks are seven days, quarters three months, years twelve. Months, days and times do not mix: ``P1MT1H`` is refused.
    """
    parts = _parts(text)
    if parts is None:
        raise ValueError(f"expected {RULE}")
    microseconds, days, months = parts
    named: tuple[tuple[int, Unit], ...] = ((months, "month"), (days, "day"), (microseconds, "microsecond"))
    given = [part for part in named if part[0]]
    if not given:
        raise ValueError(f"it is zero: expected {RULE}")
    if len(given) > 1:
        raise ValueError(f"months, days and times do not mix, as they are of different kinds: expected {RULE}")
    count, unit = given[0]
    most = {"month": 12 * LONGEST_YEARS, "day": 366 * LONGEST_YEARS, "microsecond": 366 * LONGEST_YEARS * DAY}[unit]
    if count > most:
        raise ValueError(f"it is longer than {LONGEST_YEARS} years: expected {RULE}")
    return Span(count, unit)


def _parts(text: str) -> tuple[int, int, int] | None:
    """Return (microseconds, days, months), or None for a text of another form."""
    short = _SHORT.fullmatch(text)
    if short is not None:
        count, name = int(short[1]), short[2]
        return count * _FIXED.get(name, 0), count * _DAYS.get(name, 0), count * _MONTHS.get(name, 0)
    iso = _ISO.fullmatch(text)
    # At least one number stands there, and one behind a T.
    if iso is None or text in ("P", "PT") or iso["t"] == "T":
        return None
    fraction = int((iso["f"] or "").ljust(6, "0"))
    microseconds = sum(int(iso[name] or 0) * _FIXED[name] for name in ("h", "m", "s")) + fraction
    days = sum(int(iso[name] or 0) * size for name, size in _DAYS.items())
    months = int(iso["y"] or 0) * 12 + int(iso["mo"] or 0)
    return microseconds, days, months
