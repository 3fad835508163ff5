"""The dialect of a CSV file: told by its bytes, and by which delimiter gives its rows one number of cells."""

import codecs
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import pyarrow.compute as pc

from gristmill.records.infer import numbers
from gristmill.records.infer.questions import AS_TEXT, Option, Question, bad_answer
from gristmill.records.infer.sample import SampledColumn
from gristmill.records.readers.context import OTHER_BOMS
from gristmill.records.readers.csv_rows import split_rows
from gristmill.records.readers.csv_syntax import syntax_of
from gristmill.records.readers.dialect import BadDialect, CsvDialect
from gristmill.records.readers.transcode import as_utf8, wide_encoding
from gristmill.records.validation.tokens import BOM

_DELIMITERS = ",;\t|"
# What is looked at to tell delimiter and quote.
_START_BYTES, _START_ROWS = 256 * 1024, 200
_BLOCK = 1024 * 1024
_LONGEST_NUMBER = 100
# The share of rows that have as many cells as the header where a delimiter is the right one.
_EVEN = 0.9
# Bytes that are letters or quotation marks in Windows and control characters in Latin-1; five of them are nothing.
_WINDOWS = frozenset(range(0x80, 0xA0)) - {0x81, 0x8D, 0x8F, 0x90, 0x9D}
_CONTROLS = frozenset(range(0x80, 0xA0))


def sniff(file: BinaryIO, answers: Mapping[str, Any], partial: bool) -> tuple[CsvDialect, Question | None]:
    """Return the dialect of a file, its numbers apart, and the question about its encoding where nothing tells it.

    answers: to that question, and to the one about null. Raises Invalid for an answer that no dialect has.
    """
    found, question = _encoding(file, partial)
    given = {}
    if question is not None and "encoding" in answers:
        given["encoding"] = str(answers["encoding"])
    if answers.get("null", AS_TEXT) != AS_TEXT:
        given["null"] = str(answers["null"])
    try:
        found = CsvDialect(**{"encoding": found, **given}).encoding
        text = as_utf8(file, found)
        text.seek(0)
        start = text.read(_START_BYTES).removeprefix(BOM)
        return replace(_syntax(start), **{"encoding": found, **given}), question
    except BadDialect as error:
        reason = f"It is no answer about {error.parameter}: {error.reason}"
        raise bad_answer(reason) from error


def choose_marks(
    dialect: CsvDialect, columns: Sequence[SampledColumn], answer: object
) -> tuple[CsvDialect, Question | None]:
    """Return the dialect with the marks of numbers: a decimal comma where columns have one, and none has a point.

    answer: to the question that is returned where points may be decimal marks, or group digits; None without one.
    """
    found: set[numbers.Marks] = set()
    for column in columns:
        if column.values is not None and 0 < column.longest <= _LONGEST_NUMBER:
            found.add(numbers.marks_of(pc.unique(column.values.drop_null())))
    is_open = numbers.OPEN in found
    found -= {numbers.NONE, numbers.OPEN}
    thousands = {mark for _, mark in found if mark is not None}
    if {decimal for decimal, _ in found} != {","} or len(thousands) > 1:
        return dialect, None
    question = None
    if is_open and thousands != {"."}:
        text = "Do points in numbers such as 1.234 group thousands? Other columns have a comma before their decimals"
        options = [Option("thousands", "1.234 is 1234"), Option("decimal", "1.234 is a little more than 1")]
        question = Question("points", text, "thousands", options)
        if answer == "decimal" or thousands:
            return dialect, question
        thousands = {"."}
    try:
        return replace(dialect, decimal=",", thousands=thousands.pop() if thousands else None), question
    except BadDialect:
        return dialect, question


def _encoding(file: BinaryIO, partial: bool) -> tuple[str, Question | None]:
    file.seek(0)
    start = file.read(_BLOCK)
    if start.startswith(BOM):
        return "utf-8", None
    for mark, name in OTHER_BOMS.items():
        if start.startswith(mark):
            return ("utf-32" if name == "UTF-32" else "utf-16"), None
    wide = wide_encoding(start)
    if wide is not None:
        return wide, None
    wrong = _not_utf8(file, partial)
    if not wrong:
        return "utf-8", None
    found = "cp1252" if not (wrong & _CONTROLS) - _WINDOWS and wrong & _WINDOWS else "latin-1"
    text = "In which encoding is the file? It is not UTF-8, and nothing in it says which one it is"
    options = [
        Option("latin-1", "Latin-1: Western European languages"),
        Option("cp1252", "Windows of Western Europe and America"),
        Option("cp1250", "Windows of Central Europe"),
        Option("cp1251", "Windows of Cyrillic languages; any other encoding may be named too"),
    ]
    return found, Question("encoding", text, found, options)


def _not_utf8(file: BinaryIO, partial: bool) -> set[int]:
    """Return the bytes above those of ASCII that a file has which is not UTF-8; none for a file that is."""
    file.seek(0)
    decoder = codecs.getincrementaldecoder("utf-8")()
    seen: set[int] = set()
    broken = False
    while block := file.read(_BLOCK):
        if not broken:
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                broken = True
        if not block.isascii():
            seen.update(byte for byte in set(block) if byte >= 0x80)
    if not broken and not partial:
        try:
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            broken = True
    return seen if broken else set()


def _syntax(start: bytes) -> CsvDialect:
    """Return the dialect whose delimiter and quote give most rows one number of cells, the more the better."""
    best, score = CsvDialect(), (0.0, 1)
    quotes = ('"', "'") if b"'" in start and b'"' not in start else ('"',)
    for quote in quotes:
        for delimiter in _DELIMITERS:
            dialect = CsvDialect(delimiter=delimiter, quote=quote)
            even, width = _evenness(start, dialect)
            if width > 1 and even >= _EVEN and (width, even) > (score[1], score[0]):
                best, score = dialect, (even, width)
    return best


def _evenness(start: bytes, dialect: CsvDialect) -> tuple[float, int]:
    """Return the share of the first rows that have as many cells as the header, and how many that has."""
    rows = split_rows(start, 0, False, None, _START_ROWS, syntax_of(dialect))
    widths = [0 if row.cells is None else len(row.cells) for row in rows]
    if not widths:
        # There is no line end: the header is all.
        rows = split_rows(start, 0, True, None, _START_ROWS, syntax_of(dialect))
        widths = [0 if row.cells is None else len(row.cells) for row in rows]
    if not widths or not widths[0]:
        return 0.0, 0
    return sum(width == widths[0] for width in widths) / len(widths), widths[0]
