"""The header Range in bytes (RFC 9110, 14): which parts of a file are asked for."""

import re

# More parts than this are not worth their headers; nobody who reads a file by parts asks for so many at once.
MOST_RANGES = 64
_SPEC = re.compile(r"([0-9]*)-([0-9]*)")
# Longer numbers are no places in a file, and take long to read.
_LONGEST_NUMBER = 20

Span = tuple[int, int]
"""The first byte, and the one after the last."""


class TooManyRanges(ValueError):
    """More than MOST_RANGES parts."""


def read_ranges(header: str, size: int) -> list[Span] | None:
    """Return the parts that a Range header names of ``size`` bytes, in its order; None where it is to be ignored.

    It is where it is no list of byte ranges. Ranges that begin behind the end are left out, so the list may be empty:
    then nothing that was asked for is there. Parts that overlap or touch are joined, in the place of the first one.
    Raises TooManyRanges.
    """
    unit, equals, listed = header.partition("=")
    if unit.strip().lower() != "bytes" or not equals:
        return None
    found: list[Span] = []
    specs = [text.strip(" \t") for text in listed.split(",")]
    specs = [text for text in specs if text]
    if not specs:
        return None
    if len(specs) > MOST_RANGES:
        raise TooManyRanges(f"Range names {len(specs)} parts, and at most {MOST_RANGES} are given at once")
    for text in specs:
        span = _read(text, size)
        if span is None:
            return None
        if span[0] < span[1]:
            found = _join(found, span)
    return found


def _read(text: str, size: int) -> Span | None:
    """Return one part, which is empty where it begins behind the end; None for what is no range."""
    spec = _SPEC.fullmatch(text)
    if spec is None or text == "-" or max(len(spec[1]), len(spec[2])) > _LONGEST_NUMBER:
        return None
    if not spec[1]:
        return max(0, size - int(spec[2])), size
    first = int(spec[1])
    last = int(spec[2]) if spec[2] else size - 1
    if spec[2] and last < first:
        return None
    return (first, min(last + 1, size)) if first < size else (size, size)


def _join(spans: list[Span], span: Span) -> list[Span]:
    """Add a part; those that it overlaps or touches become one with it."""
    place, kept = len(spans), []
    for index, (start, end) in enumerate(spans):
        if start <= span[1] and span[0] <= end:
            span = min(start, span[0]), max(end, span[1])
            place = min(place, index)
        else:
            kept.append((start, end))
    kept.insert(min(place, len(kept)), span)
    return kept
