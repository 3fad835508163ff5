"""The type of a column of texts: the narrowest one that takes every value of the sample, as it is or by a cast."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import ValidationError

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.columns import Mask
from gristmill.records.infer import numbers
from gristmill.records.infer.formats import fitting_formats
from gristmill.records.infer.nulls import split_nulls
from gristmill.records.infer.questions import Question, ask_format
from gristmill.records.infer.sample import BOOLEAN, CELL, INTEGER, NESTED, NUMBER, STRING, SampledColumn
from gristmill.records.readers.dialect import DEFAULT, CsvDialect
from gristmill.transforms.formats.blanks import trim

_WORDS = (("true", "false"), ("yes", "no"), ("y", "n"), ("t", "f"), ("ja", "nein"), ("oui", "non"))
# Texts up to this length are taken by a field that says nothing of it.
_PLAIN_TEXT = 65_536
_LONGEST_TEXT = 1_048_576
# Bytes of the longest number, moment or word; what is longer is a text, or JSON.
_LONGEST_WRITTEN = 200


@dataclass(frozen=True, slots=True)
class Guess:
    """What a column may be.

    body: type and limits of its field. because: what was seen. cast: parameters of the step that makes it of texts,
    None where it needs none. question: what the values leave open. naive: they are times without an offset.
    """

    body: dict[str, Any]
    because: str
    cast: dict[str, Any] | None = None
    question: Question | None = None
    naive: bool = False


def guess(column: SampledColumn, answers: dict[str, Any], name: str, zone: str, dialect: CsvDialect = DEFAULT) -> Guess:
    """Return what a column of texts is. answers: to questions. name: of its field. zone: of times without an offset.

    dialect: how the numbers of CSV look.
    """
    values = column.values
    assert values is not None
    count = len(values) - values.null_count
    if not count:
        return Guess({"type": "text"}, "no record of the sample has a value: any text fits")
    kinds = set(column.kinds)
    if kinds not in ({CELL}, {STRING}):
        return _of_json(column.kinds, values, count)
    if column.longest > _LONGEST_WRITTEN:
        return _of_long_texts(values, count, column.longest, cells=kinds == {CELL})
    return _of_texts(_distinct(values), _Asked(count, answers, name, zone, dialect), cells=kinds == {CELL})


@dataclass(frozen=True, slots=True)
class _Asked:
    values: int
    answers: dict[str, Any]
    name: str
    zone: str
    dialect: CsvDialect


def _distinct(values: pa.ChunkedArray) -> pa.Array:
    """Return the values that there are, without null."""
    return pc.unique(values.drop_null())


def _of_long_texts(values: pa.ChunkedArray, count: int, longest: int, cells: bool) -> Guess:
    """Return what texts are that are too long for anything but JSON; they are not copied, as there may be many MiB."""
    chunks = [chunk.drop_null() for chunk in values.chunks]
    nested = cells and all(_looks_nested(chunk) for chunk in chunks if len(chunk))
    if nested and all(_misfit(_spec({"type": "json"}), chunk) is None for chunk in chunks):
        return Guess({"type": "json"}, f"all {count} values are JSON objects or arrays")
    return _text(longest)


def _of_json(kinds: Counter[str], values: pa.ChunkedArray, count: int) -> Guess:
    said = ", ".join(f"{number} {kind}" for kind, number in kinds.most_common())
    names = set(kinds)
    if names == {BOOLEAN}:
        return Guess({"type": "boolean"}, f"all {count} values are true or false")
    distinct = _distinct(values) if names <= {INTEGER, NUMBER} else None
    if names == {INTEGER}:
        for body in ({"type": "integer"}, {"type": "decimal"}):
            if _misfit(_spec(body), distinct) is None:
                return Guess(body, f"all {count} values are whole numbers")
    if names <= {INTEGER, NUMBER} and not numbers.loses_digits(distinct):
        return Guess({"type": "float"}, f"all {count} values are numbers ({said})")
    what = (
        "objects or arrays" if names == {NESTED} else f"of several kinds ({said}), of which no type takes all exactly"
    )
    return Guess({"type": "json"}, f"the values are {what}")


def _of_texts(distinct: pa.Array, asked: _Asked, cells: bool) -> Guess:
    if cells and not asked.dialect.has_plain_numbers:
        plain = numbers.of_dialect(distinct, asked.dialect)
        bodies = () if plain is None else (({"type": "integer"}, "integers"), *numbers.bodies(plain))
        for body, what in bodies:
            if _misfit(_spec(body), plain) is None:
                return Guess(body, f"all {asked.values} values are {what} as the file writes them")
    for body, what in _plain_bodies(distinct, asked.zone, cells and asked.dialect.has_plain_numbers, cells):
        if _misfit(_spec(body), distinct) is None:
            naive = "zone" in body
            return Guess(body, f"all {asked.values} values are {what}", naive=naive)
    return _by_cast(distinct, asked, cells) or _short_text(distinct)


def _plain_bodies(distinct: pa.Array, zone: str, plain: bool, cells: bool) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the types that take texts as they are, the narrowest first, and what their values are.

    plain: numbers are written as the contract takes them. cells: the texts are those of CSV.
    """
    if cells:
        yield {"type": "boolean"}, "true or false"
    if plain:
        yield {"type": "integer"}, "integers"
        yield from numbers.bodies(distinct)
    elif not cells and numbers.is_exact(distinct):
        yield {"type": "decimal"}, "decimal numbers in strings"
    yield from _moments(zone)
    yield {"type": "uuid"}, "UUIDs"
    yield {"type": "duration"}, "durations (ISO 8601)"
    if cells and _looks_nested(distinct):
        yield {"type": "json"}, "JSON objects or arrays"


def _by_cast(distinct: pa.Array, asked: _Asked, cells: bool) -> Guess | None:
    """Return what a step can make of the texts, None where that is nothing better than texts."""
    nulls, known = split_nulls(distinct)
    if not len(known):
        return None
    without = f", apart from {', '.join(map(shorten, nulls))}, read as null" if nulls else ""
    given = {"nulls": nulls} if nulls else {}
    if cells:
        found = _words(known)
        if found is not None:
            true, false = found
            because = f"the values are {true} or {false}{without}"
            return Guess({"type": "boolean"}, because, {"type": "boolean", "true": [true], "false": [false], **given})
        for marks, what in numbers.writings(known):
            plain = numbers.plain(known, marks)
            if plain is None:
                continue
            for body, kind in ({"type": "integer"}, "integers"), *numbers.bodies(plain):
                if _misfit(_spec(body), plain) is None:
                    return Guess(
                        body, f"the values are {kind}{what}{without}", {"type": body["type"], **marks, **given}
                    )
    for body, kind in _moments(asked.zone) if nulls or len(known) < len(distinct) else ():
        if _misfit(_spec(body), known) is None:
            zone = {"zone": body["zone"]} if "zone" in body else {}
            cast = {"type": body["type"], **zone, **given}
            return Guess({"type": body["type"]}, f"the values are {kind}{without}", cast, naive=bool(zone))
    return _by_format(known, asked, without, given)


def _by_format(known: pa.Array, asked: _Asked, without: str, given: dict[str, Any]) -> Guess | None:
    formats = fitting_formats(known)
    if not formats:
        return None
    about = f"format:{asked.name}"
    question = None if len(formats) == 1 else ask_format(about, asked.name, formats, known)
    chosen = (
        formats[0] if question is None else next((one for one in formats if one.text == asked.answers.get(about)), None)
    )
    if chosen is None:
        because = f"text for now: the values are dates that may be read in {len(formats)} ways"
        return Guess({"type": "text"}, because, None, question)
    zone = {"zone": asked.zone} if chosen.type == "timestamp" and not chosen.has_offset else {}
    cast = {"type": chosen.type, "format": chosen.text, **zone, **given}
    because = f"the values are of the form {chosen.text}{without}"
    return Guess({"type": chosen.type}, because, cast, question, naive=bool(zone))


def _moments(zone: str) -> Iterator[tuple[dict[str, Any], str]]:
    yield {"type": "date"}, "dates (ISO 8601)"
    yield {"type": "timestamp"}, "times with an offset (ISO 8601)"
    yield {"type": "timestamp", "zone": zone}, f"times without an offset (ISO 8601), read in the zone {zone}"


def _text(longest: int) -> Guess:
    """longest: bytes of the longest text, which has no more characters."""
    body = {"type": "text", **({"max_length": _LONGEST_TEXT} if longest > _PLAIN_TEXT else {})}
    return Guess(body, f"the values are texts of up to {longest} bytes")


def _short_text(distinct: pa.Array) -> Guess:
    because = f"the values are texts of up to {pc.max(pc.utf8_length(distinct)).as_py()} characters"
    number = next((text for text in distinct.slice(0, 1000).to_pylist() if numbers.is_code(text)), None)
    if number is not None:
        because += f"; {shorten(number)} begins with a zero that a number would lose"
    return Guess({"type": "text"}, because)


def _words(known: pa.Array) -> tuple[str, str] | None:
    """Return the words for true and false where the texts are such words, and both occur."""
    texts = set(pc.utf8_lower(known).to_pylist())
    return next((pair for pair in _WORDS if texts == set(pair)), None)


def _looks_nested(distinct: pa.Array) -> bool:
    start = pc.utf8_slice_codeunits(trim(distinct), 0, 1)
    return bool(pc.all(pc.is_in(start, value_set=pa.array(["{", "["]))).as_py())


def _spec(body: dict[str, Any]) -> FieldSpec:
    return FieldSpec(name="sample", **body)


def _misfit(spec: FieldSpec, texts: pa.Array) -> str | None:
    """Return a text that is no value of the field as CSV cells are read, None where all are."""
    kind = TYPES[spec.type]
    for part in (texts.slice(0, 50), texts.slice(50)):
        if not len(part):
            continue
        try:
            cells, unread = kind.read_cells(spec, part)
            _, wrong = kind.check_column(spec, cells)
            marked: Mask = unread | wrong
        except pa.ArrowInvalid:
            marked = np.ones(len(part), np.bool_)
        for place in np.flatnonzero(marked).tolist():
            text = part[place].as_py()
            try:
                kind.parse(spec, kind.from_text(spec, text))
            except (ValidationError, ValueError):
                return str(text)
    return None
