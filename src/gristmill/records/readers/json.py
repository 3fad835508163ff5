"""JSON: an array of records, or an object whose one member ``records`` is that array.

The array is cut into the texts of its elements without parsing them, so that memory does not grow with the body and
every record is validated alone, exactly as a line of NDJSON is.
"""

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
from pydantic_core import ValidationError

from gristmill.core.errors import Invalid, Malformed, Violation
from gristmill.records.columns import Row
from gristmill.records.readers.context import (
    BLOCK_BYTES,
    LINES_BYTES,
    MAX_RECORD_BYTES,
    ReadContext,
    RecordBlock,
    count_from,
    malformed,
    skip_bom,
)
from gristmill.records.readers.rows import STEP_ROWS
from gristmill.records.readers.texts import validate_texts
from gristmill.records.validation.tokens import BOM

# Up to this size a body is validated in one call; only when that fails is it cut up to find where it is wrong.
SHORT_BYTES = 64 * 1024
_SPACE = b" \t\r\n"
_OPENING = re.compile(rb'\{[ \t\r\n]*"records"[ \t\r\n]*:[ \t\r\n]*\[')
_CLOSING = re.compile(rb"[ \t\r\n]*\}[ \t\r\n]*")
_SHAPE = 'The body must be a JSON array of records or an object {"records": [...]}'


def read_json(source: ReadContext) -> Iterator[RecordBlock]:
    """Yield the records of a JSON body."""
    skip_bom(source.file)
    short = _read_short(source)
    if short is not None:
        if short:
            yield RecordBlock(source.validator.to_table(short), count_from(0, len(short)))
        return
    skip_bom(source.file)
    splitter = _Splitter(source.file)
    prefix = splitter.open()
    record = 0
    for texts in _gather(splitter.elements()):
        yield from validate_texts(source, texts, prefix, record, None)
        if source.problems.malformed:
            # What follows a broken element cannot be told apart any more.
            return
        record += len(texts)
    splitter.close(record_member=bool(prefix))


def _gather(elements: Iterator[bytes]) -> Iterator[list[bytes]]:
    """Yield the elements in lists of some length, also those before a place where the array is broken."""
    texts: list[bytes] = []
    size = 0
    while True:
        try:
            text = next(elements, None)
        except Malformed:
            if texts:
                yield texts
            raise
        if text is None:
            break
        texts.append(text)
        size += len(text)
        if len(texts) >= STEP_ROWS or size >= LINES_BYTES:
            yield texts
            texts, size = [], 0
    if texts:
        yield texts


def _read_short(source: ReadContext) -> list[Row] | None:
    """Return the records of a short array without errors, or None when the array has to be cut into its elements."""
    raw = source.file.read(SHORT_BYTES + 1).strip(_SPACE)
    if len(raw) > SHORT_BYTES or source.validator.may_nest:
        return None
    if (opening := _OPENING.match(raw)) is not None and raw.endswith(b"}"):
        # If this is an array, the body was one within {"records": }.
        raw = b"[" + raw[opening.end() : -1].rstrip(_SPACE)
    if not raw.startswith(b"["):
        return None
    try:
        return source.validator.validate_json_array(raw)
    except ValidationError:
        return None


class _Splitter:
    """Cuts a JSON array, read in blocks, at the commas between its elements."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rest = b""

    def open(self) -> str:
        """Step over everything before the first element; return the JSON pointer of the array."""
        start = self._file.read(BLOCK_BYTES).lstrip(_SPACE)
        while not start and (block := self._file.read(BLOCK_BYTES)):
            start = block.lstrip(_SPACE)
        if not start:
            raise Malformed("The body is empty", [malformed(f"The body is empty. {_SHAPE}")])
        if start.startswith(b"["):
            self._rest = start[1:]
            return ""
        if start.startswith(BOM):
            raise Malformed("A second byte order mark", [malformed("The body starts with two byte order marks")])
        match = _OPENING.match(start)
        if match is None:
            if start.startswith(b"{"):
                raise Invalid(
                    _SHAPE, [Violation("/records", "missing", f"{_SHAPE}; one record alone goes in an array")]
                )
            raise Malformed(_SHAPE, [malformed(_SHAPE)])
        self._rest = start[match.end() :]
        return "/records"

    def elements(self) -> Iterator[bytes]:
        """Yield the text of each element; afterwards the array's closing bracket has been passed."""
        block, pending = self._rest, b""
        depth, in_string, slashes, count = 0, False, 0, 0
        while block:
            cuts, end, depth, in_string, slashes = _scan(block, depth, in_string, slashes)
            start = 0
            for cut in cuts:
                yield self._element(pending + block[start:cut], count)
                pending, start, count = b"", cut + 1, count + 1
            if end is not None:
                last = pending + block[start:end]
                self._rest = block[end + 1 :]
                if last.strip(_SPACE):
                    yield last
                elif count:
                    raise _broken(count, "a comma stands before the closing bracket")
                return
            pending += block[start:]
            if len(pending) > MAX_RECORD_BYTES:
                reason = f"Record {count} is longer than {MAX_RECORD_BYTES} bytes"
                raise Malformed(reason, [Violation(f"/{count}", "too_long", reason, count)])
            block = self._file.read(BLOCK_BYTES)
        raise _broken(count, "the array is not closed" + (", a string is still open" if in_string else ""))

    def close(self, record_member: bool) -> None:
        """Check that nothing but the end of the body is left."""
        rest = (self._rest + self._file.read(BLOCK_BYTES)).rstrip(_SPACE)
        if record_member and rest.lstrip(_SPACE).startswith(b","):
            raise Invalid(_SHAPE, [Violation("", "unknown_member", f"{_SHAPE}: it has another member after records")])
        if (not _CLOSING.fullmatch(rest)) if record_member else rest:
            raise Malformed("The body goes on after its end", [malformed("Something follows the end of the records")])
        if self._file.read(BLOCK_BYTES).strip(_SPACE):
            raise Malformed("The body goes on after its end", [malformed("Something follows the end of the records")])

    def _element(self, raw: bytes, count: int) -> bytes:
        if not raw.strip(_SPACE):
            raise _broken(count, "there is nothing between two commas")
        return raw


def _broken(record: int, reason: str) -> Malformed:
    return Malformed(f"The JSON is broken at record {record}: {reason}", [malformed(reason, record)])


_MARKS = np.zeros(256, np.bool_)
_MARKS[[ord(mark) for mark in '"[]{}\\']] = True
_STEP = np.zeros(256, np.int64)
_STEP[[ord("["), ord("{")]] = 1
_STEP[[ord("]"), ord("}")]] = -1


def _scan(block: bytes, depth: int, in_string: bool, slashes: int) -> tuple[list[int], int | None, int, bool, int]:
    """Find the commas at depth 0 and the bracket that closes the array in one block.

    depth, in_string: the state at the block's start; slashes: how many backslashes end the block before. Returns the
    commas, the closing bracket or None, and the state at the block's end.
    """
    data = np.frombuffer(block, np.uint8)
    at = np.flatnonzero(_MARKS[data])
    marks = data[at]
    quote = marks == ord('"')
    if slashes or ord("\\") in marks:
        quote &= ~_after_odd_backslashes(at, marks, slashes)
    inside = (np.cumsum(quote) - quote + in_string) % 2 == 1
    steps = np.where(inside, 0, _STEP[marks])
    depths = depth + np.cumsum(steps)
    ends = np.flatnonzero(depths < 0)
    last = int(ends[0]) if len(ends) else len(at)
    cuts = _commas(
        block, at[: last + 1], np.r_[depth == 0 and not in_string, (depths == 0) & (inside == quote)][: last + 1]
    )
    trailing = len(block) - len(block.rstrip(b"\\"))
    slashes = (slashes + trailing) if trailing == len(block) else trailing
    open_at_end = bool((int(quote.sum()) + in_string) % 2)
    final = int(depths[-1]) if len(depths) else depth
    return cuts, int(at[last]) if len(ends) else None, final, open_at_end, slashes


def _commas(block: bytes, at: Any, between: Any) -> list[int]:
    """Return the commas before the first mark and after each, up to the next, where ``between`` says so.

    Most commas stand inside elements, so only the few places between elements are looked through.
    """
    starts, ends = np.r_[0, at + 1], np.r_[at, len(block)]
    cuts = []
    for gap in np.flatnonzero(between).tolist():
        end = int(ends[gap])
        comma = block.find(b",", int(starts[gap]), end)
        while comma >= 0:
            cuts.append(comma)
            comma = block.find(b",", comma + 1, end)
    return cuts


def _after_odd_backslashes(at: Any, marks: Any, slashes: int) -> Any:
    """Say of each mark whether an odd run of backslashes stands directly before it."""
    slash = marks == ord("\\")
    index = np.arange(len(at))
    # A run of backslashes is broken by another mark, or by any byte between two marks.
    starts = slash & np.r_[True, ~slash[:-1] | (np.diff(at) != 1)] if len(at) else slash
    start = np.maximum.accumulate(np.where(starts, index, -1))
    run = np.where(slash, index - start + 1, 0)
    # A run at the very start of the block goes on from the block before.
    run = np.where(slash & (at[np.maximum(start, 0)] == 0) & (start >= 0), run + slashes, run)
    before = np.r_[0, run[:-1]]
    adjacent = np.r_[False, np.diff(at) == 1]
    odd = adjacent & (before % 2 == 1)
    if len(at) and at[0] == 0 and not slash[0]:
        odd[0] = slashes % 2 == 1
    return odd
