"""Numbers in texts: which type holds them exactly, and the marks that people of other countries write."""

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.records.infer.nulls import split_nulls
from gristmill.records.readers.csv_numbers import to_plain as to_plain_cell
from gristmill.records.readers.dialect import CsvDialect
from gristmill.transforms.formats.numbers import to_plain

Marks = tuple[str, str | None]
# What a column shows that has no number with a mark; and one whose points may be either.
NONE: Marks = ("", None)
OPEN: Marks = ("", ".")
# Digits that every double keeps.
_EXACT_DIGITS = 15
_CENTS = r"^[+-]?[0-9]+\.[0-9]{2}$"
_POINT = r"^[+-]?([0-9]+\.[0-9]*|\.[0-9]+|[0-9]+)$"
_CODE = re.compile(r"[+-]?0[0-9]+")
# 1.234 is a number of thousands where the decimal mark is a comma.
_GROUPS = r"^[+-]?[1-9][0-9]{0,2}(\.[0-9]{3})+$"
_CODES = r"^[+-]?0[0-9]"
# 1,234 is 1234 or 1.234: what shows that a comma groups digits, or stands before decimals, in one number at least.
_GROUPING_COMMA = r"(,[0-9]{3}){2}|,[0-9]{3}\."
_DECIMAL_COMMA = r",([0-9]{0,2}|[0-9]{4,})$|^[+-]?0,|^[+-]?[0-9]{4,},"
# Marks, how a message says them, and what a number has to look like for them.
_WRITINGS: tuple[tuple[dict[str, str], str, str | None], ...] = (
    ({}, "", None),
    ({"thousands": ","}, " with commas between thousands", _GROUPING_COMMA),
    ({"decimal": ","}, " with a decimal comma", _DECIMAL_COMMA),
    *(
        (
            {"decimal": ",", "thousands": mark},
            f" with a decimal comma and {name} between thousands",
            rf"{re.escape(mark)}[0-9]{{3}},|{_DECIMAL_COMMA}",
        )
        for mark, name in ((".", "points"), (" ", "blanks"), ("\N{NO-BREAK SPACE}", "blanks"))
    ),
    ({"thousands": "'"}, " with apostrophes between thousands", None),
)


def bodies(texts: pa.Array) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield decimal and float for numbers in texts, first the one that loses nothing of them."""
    if bool(pc.all(pc.match_substring_regex(texts, _CENTS)).as_py()):
        yield {"type": "decimal"}, "numbers of exactly two places, as amounts are written"
    elif loses_digits(texts):
        yield {"type": "decimal"}, "numbers of more digits than a float keeps"
    yield {"type": "float"}, "numbers"
    yield {"type": "decimal"}, "numbers"


def is_exact(texts: pa.Array) -> bool:
    """Say whether all texts are numbers without an exponent, and one of them has a point."""
    if not pc.all(pc.match_substring_regex(texts, _POINT)).as_py():
        return False
    return bool(pc.any(pc.match_substring(texts, ".")).as_py())


def loses_digits(texts: pa.Array) -> bool:
    """Say whether the nearest float of one of the numbers, as it is shown, is another number."""
    digits = pc.replace_substring_regex(texts, r"[eE].*$|[^0-9]", "")
    long = texts.filter(pc.greater(pc.utf8_length(digits), _EXACT_DIGITS)).to_pylist()
    try:
        return any(Decimal(repr(float(text))) != Decimal(text) for text in long)
    except (ValueError, ArithmeticError):
        # One of them is no number.
        return False


def is_code(text: str) -> bool:
    """Say whether a text looks like a number whose leading zeros mean something."""
    return _CODE.fullmatch(text) is not None


def writings(texts: pa.Array) -> Iterator[tuple[dict[str, str], str]]:
    """Yield the marks that the numbers may be written with, and how a message says it; none for codes."""
    if (
        pc.any(pc.match_substring_regex(texts, _CODES)).as_py()
        and not pc.all(pc.match_substring_regex(texts, r"^[+-]?(0[.,]|[1-9]|0$)")).as_py()
    ):
        return
    for marks, what, shows in _WRITINGS:
        if shows is None or pc.any(pc.match_substring_regex(texts, shows)).as_py():
            yield marks, what


def marks_of(texts: pa.Array) -> Marks:
    """Return the decimal mark and the thousands mark that the numbers of a column show; ``NONE`` for other columns."""
    _, known = split_nulls(texts)
    if not len(known):
        return NONE
    for marks, _ in writings(known):
        if plain(known, marks) is None:
            continue
        if marks:
            return marks.get("decimal", "."), marks.get("thousands")
        pointed = known.filter(pc.match_substring(known, "."))
        if not len(pointed):
            return NONE
        return OPEN if pc.all(pc.match_substring_regex(pointed, _GROUPS)).as_py() else (".", None)
    return NONE


def of_dialect(texts: pa.Array, dialect: CsvDialect) -> pa.Array | None:
    """Return numbers of CSV cells as the contract takes them, None where a text is no such number."""
    found = []
    for text in texts.to_pylist():
        number = to_plain_cell(text, dialect.decimal, dialect.thousands)
        if number is None:
            return None
        found.append(number)
    return pa.array(found, pa.string())


def plain(texts: pa.Array, marks: dict[str, str]) -> pa.Array | None:
    """Return the numbers with a point and without other marks; None where a text is no such number."""
    found = to_plain(texts, marks.get("decimal", "."), marks.get("thousands"))
    return None if found.null_count else found
