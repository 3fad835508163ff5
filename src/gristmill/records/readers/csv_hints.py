"""What a CSV body that makes no sense may be written in: the parameters that its refusal names."""

import re
from collections.abc import Iterable
from functools import lru_cache

from gristmill.datasets.contract import FieldSpec
from gristmill.records.readers.csv_numbers import is_number, to_plain
from gristmill.records.readers.csv_rows import CsvRow, split_row
from gristmill.records.readers.csv_syntax import syntax_of
from gristmill.records.readers.dialect import NAMED, CsvDialect
from gristmill.records.readers.transcode import wide_encoding
from gristmill.records.validation.tokens import BOM

_DELIMITERS = {";": "semicolon", "\t": "tab", ",": "comma", "|": "vertical bar"}
_WORDS = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
# Names of what is awkward to write in a URL.
_SHOWN = {NAMED[name]: name for name in ("tab", "space", "nbsp", "nnbsp")}
# What programs and people write for nothing, in small letters.
_NULLS = frozenset(
    ("n/a", "na", "n.a.", "#n/a", "<na>", "nan", "null", "(null)", "none", "nil", "\\n", "-", "--", "?", ".", "missing")
)
_NUMBER = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_ZEROS = str.maketrans("123456789", "0" * 9)
_INTEGER = re.compile(r"[+-]?[0-9]+")
# Ways to write numbers: decimal, thousands.
_WAYS = [
    *((".", None), (",", None)),
    *(
        (decimal, sign)
        for sign in (",", ".", " ", "\N{NO-BREAK SPACE}", "\N{NARROW NO-BREAK SPACE}")
        for decimal in ".,"
    ),
    *((".", sign) for sign in ("'", "\N{RIGHT SINGLE QUOTATION MARK}", "_")),
]


def header_hint(row: CsvRow, fields: Iterable[str], dialect: CsvDialect, strict: bool) -> tuple[str, str] | None:
    """Return the code and the reason where another dialect makes more sense of a header; None if none does.

    fields: names that it should have. strict: no other names are taken.
    """
    if row.raw.startswith(BOM):
        return None
    encoding = wide_encoding(row.raw) if dialect.encoding == "utf-8" else None
    if encoding is not None:
        return "wrong_encoding", f"The header has zero bytes between its letters, as UTF-16 has: encoding={encoding}?"
    text, known = row.raw.decode("utf-8", "replace"), set(fields)
    columns = row.cells or []
    matched = len(known.intersection(columns))
    best: tuple[int, str] | None = None
    for delimiter in _DELIMITERS:
        if delimiter in (dialect.delimiter, dialect.quote):
            continue
        found = _names(text, CsvDialect(delimiter=delimiter, quote=dialect.quote))
        # One column that is no field says nothing else, whatever the names in it are.
        alone = strict and len(columns) <= 1 and not matched
        score = len(known.intersection(found)) * 2 + alone
        if len(found) > 1 and score > matched * 2 and (best is None or score > best[0]):
            best = score, delimiter
    if best is not None:
        return "wrong_delimiter", _delimiter_reason(text, len(text.split(dialect.delimiter)), best[1])
    quote = "'" if dialect.quote == '"' else '"'
    if text.startswith(quote) and quote != dialect.delimiter and not matched:
        found = _names(text, CsvDialect(delimiter=dialect.delimiter, quote=quote))
        if known.intersection(found):
            return "wrong_quote", f"The names in the header stand between {quote}: quote={quote}?"
    return None


def cell_hint(cell: str | None, field: FieldSpec, dialect: CsvDialect) -> str:
    """Return what to add to the reason why a cell was refused: another dialect that could read it; else nothing."""
    if not cell or len(cell) > 100:
        return ""
    if cell.strip().casefold() in _NULLS and cell != dialect.null:
        return f": null={cell}?"
    # Which digits there are says nothing: a column of such cells has a few shapes.
    return _number_hint(cell.translate(_ZEROS), field.type == "integer", dialect) if is_number(field) else ""


@lru_cache(maxsize=1000)
def _number_hint(cell: str, whole: bool, dialect: CsvDialect) -> str:
    """Return what ``cell_hint`` does for a cell of a number. whole: it has to be an integer."""
    now = to_plain(cell, dialect.decimal, dialect.thousands)
    pattern = _INTEGER if whole else _NUMBER
    if now is not None and pattern.fullmatch(now):
        return ""
    ways: list[str] = []
    for decimal, thousands in _WAYS:
        if decimal == thousands or (thousands is not None and thousands not in cell):
            continue
        plain = to_plain(cell, decimal, thousands)
        if plain is not None and pattern.fullmatch(plain):
            named = [] if decimal == dialect.decimal or decimal not in cell else [f"decimal={decimal}"]
            if thousands not in (None, dialect.thousands):
                named.append(f"thousands={_SHOWN.get(thousands, thousands)}")
            if named and (way := " and ".join(named)) not in ways:
                ways.append(way)
    return f": {' or '.join(ways)}?" if ways else ""


def _delimiter_reason(text: str, columns: int, delimiter: str) -> str:
    name = _DELIMITERS[delimiter]
    return (
        f"The header has {_count(columns, 'column')} and {_count(text.count(delimiter), name)}: "
        f"delimiter={_SHOWN.get(delimiter, delimiter)}?"
    )


def _count(number: int, thing: str) -> str:
    return f"{_WORDS[number] if number < len(_WORDS) else number} {thing}{'' if number == 1 else 's'}"


def _names(text: str, dialect: CsvDialect) -> list[str]:
    try:
        return [name or "" for name in split_row(text, syntax_of(dialect))]
    except ValueError:
        return []
