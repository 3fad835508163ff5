"""The orders in which people write dates and times: which of them all texts of a column fit."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from gristmill.transforms.formats.moments import Format

# Points are written by those who begin with the day.
_DATES = (
    "%d.%m.%Y", "%d.%m.%y",
    "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%d/%m/%y", "%m/%d/%y", "%y/%m/%d",
    "%d-%m-%Y", "%m-%d-%Y", "%Y-%m-%d", "%d-%m-%y", "%m-%d-%y", "%y-%m-%d",
    "%d %b %Y", "%d %B %Y", "%d. %B %Y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y",
    "%a, %d %b %Y", "%A, %d %B %Y",
)  # fmt: skip
_CLOCK = re.compile(
    r"(?P<date>.*?)(?P<between>T|, | )[0-9]{1,2}:[0-9]{2}(?P<second>:[0-9]{2}(?P<fraction>\.[0-9]{1,6})?)?"
    r"(?P<half>(?P<blank> ?)[AaPp][Mm])?(?P<offset>(?P<gap> ?)(?:[Zz]|[+-][0-9]{2}:?[0-9]{2}))?"
)
# Texts by which formats are told apart before the whole column is read.
_FEW = 20
_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Reading:
    """A format that all texts of a column fit. text: in the directives of ``strptime``. type: date or timestamp.

    first: what the first text is in ISO 8601.
    """

    text: str
    type: str
    has_offset: bool
    first: str


def fitting_formats(texts: pa.Array) -> list[Reading]:
    """Return the formats that all texts fit and that read them differently, the day first where that is open."""
    found: list[Reading] = []
    seen: list[pa.Array] = []
    few = texts.slice(0, _FEW)
    for text in _candidates(few[0].as_py()):
        format_ = Format(text)
        time = "hour" in format_.parts
        if _read(format_, few, time) is None:
            continue
        values = _read(format_, texts, time)
        if values is None or any(values.equals(other) for other in seen):
            continue
        seen.append(values)
        found.append(
            Reading(text, "timestamp" if time else "date", format_.has_offset, format_.to_iso(few, time)[0].as_py())
        )
    return found


def _candidates(text: str) -> Iterator[str]:
    """Yield the formats that a text like this one may be written in, by whether it has a clock and of which kind."""
    if len(text) > _LONGEST or not any(character.isdigit() for character in text):
        return
    clock = ""
    match = _CLOCK.fullmatch(text)
    if match is not None:
        clock = match["between"] + ("%I:%M" if match["half"] else "%H:%M")
        clock += (":%S" if match["second"] else "") + (".%f" if match["fraction"] else "")
        clock += f"{match['blank']}%p" if match["half"] else ""
        clock += f"{match['gap']}%z" if match["offset"] else ""
    yield from (date + clock for date in _DATES)


def _read(format_: Format, texts: pa.Array, time: bool) -> pa.Array | None:
    """Return the texts as moments, None where one of them is none."""
    iso = format_.to_iso(texts, time)
    if iso.null_count:
        return None
    try:
        return iso.cast(pa.timestamp("us", "UTC" if format_.has_offset else None) if time else pa.date32())
    except pa.ArrowInvalid:
        return None
