"""CSV in blocks of whole rows, parsed by Arrow and validated by the column.

A block with anything odd in it (a quote in the wrong place, rows of different lengths, a byte that is not UTF-8) is
left to the reader of rows, which names the line and the mistake; so are the single rows of a block that do not fit.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as arrow_csv

from gristmill.records.columns import Row
from gristmill.records.readers.columnar import PIECE_BYTES, to_steps
from gristmill.records.readers.context import BLOCK_BYTES, MAX_RECORD_BYTES, ReadContext, RecordBlock
from gristmill.records.readers.csv_numbers import plain_columns
from gristmill.records.readers.csv_rows import (
    CsvRow,
    count_lines,
    is_too_long,
    long_line,
    skip_line,
    split_row,
    split_rows,
)
from gristmill.records.readers.csv_syntax import PLAIN, CsvSyntax, syntax_of
from gristmill.records.readers.rows import Rows
from gristmill.records.validation.tokens import BOM

Validate = Callable[[CsvRow, int], Row | None]
Places = npt.NDArray[np.int64]

_NEWLINE = ord("\n")


def read_blocks(source: ReadContext, names: list[str], before: int, validate: Validate) -> Iterator[RecordBlock]:
    """Yield the records of the rows that follow the header.

    names: the fields in the header. before: how many lines the header took. validate: returns the record of a row, or
    refuses it.
    """
    record, pending, syntax = 0, b"", syntax_of(source.dialect)
    while True:
        data = source.file.read(BLOCK_BYTES)
        block = pending + data
        if not block:
            return
        size = len(block) if not data else _whole_rows(block, syntax)
        if not size and len(block) <= MAX_RECORD_BYTES:
            pending = block
            continue
        # Beyond the longest row that is taken, the reader of rows says what is wrong.
        size = size or len(block)
        block_reader = _Block(source, names, block[:size], before, record, validate, last=not data)
        yield from block_reader.steps()
        record += block_reader.records
        # Where quotes are in wrong places, the reader of rows finds other ends than those of the block.
        pending = block[block_reader.taken :]
        before += count_lines(block[: block_reader.taken])
        if is_too_long(pending):
            before += 1
            validate(long_line(pending, before), record)
            record, pending = record + 1, skip_line(source.file)


def _whole_rows(block: bytes, syntax: CsvSyntax) -> int:
    """Return how many of the first bytes are whole rows: they end with the last newline outside quotes."""
    if syntax.quote_byte not in block:
        return block.rfind(b"\n") + 1
    newlines, quotes = _find(block, _NEWLINE), _find(block, syntax.quote_byte[0])
    outside = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
    return int(outside[-1]) + 1 if len(outside) else 0


class _Block:
    """Rows. Once ``steps`` has been read, ``records`` says how many there are and ``taken`` how many bytes they have.

    last: whether nothing follows the block.
    """

    def __init__(
        self,
        source: ReadContext,
        names: list[str],
        raw: bytes,
        before: int,
        first_record: int,
        validate: Validate,
        last: bool,
    ) -> None:
        self._source, self._names, self._raw = source, names, raw
        self._before, self._first, self._validate = before, first_record, validate
        self._last, self._syntax = last, syntax_of(source.dialect)
        self.records, self.taken = 0, len(raw)
        unknown = [name for name in names if name not in source.validator.fields and name not in source.passed_over]
        # The columns to convert, None for all. Names of those that are collected stand in each record again.
        skips = bool(unknown) and source.validator.unknown == "ignore"
        self._read = [name for name in names if name in source.validator.fields] if skips else None
        self._width = 0 if skips else sum(map(len, unknown))
        self._newlines: Places | None = None

    def steps(self) -> Iterator[RecordBlock]:
        # Columns that are passed over have rules of their own.
        by_column = self._source.passed_over.isdisjoint(self._names) and not _is_odd(self._raw, self._syntax)
        if by_column and self._read is not None:
            # What is not converted is not checked either.
            by_column = _is_utf8(self._raw)
        table = _parse(self._raw, self._names, self._read, self._syntax) if by_column else None
        starts = None if table is None else self._starts()
        if table is None or starts is None or len(starts) != table.num_rows:
            yield from self._by_row()
            return
        table = plain_columns(self._source, table)
        self.records = table.num_rows
        rows = max(1, PIECE_BYTES // self._width) if self._width else max(1, self.records)
        for start in range(0, self.records, rows):
            precise = partial(self._precise, starts, start)
            yield from to_steps(self._source, table.slice(start, rows), self._first + start, precise, cells=True)

    def _by_row(self) -> Iterator[RecordBlock]:
        rows = Rows(self._source)
        for csv_row in self._split():
            record = self._first + self.records
            self.records += 1
            row = self._validate(csv_row, record)
            if row is not None:
                rows.add(record, row, len(csv_row.raw) + self._width)
                if rows.full:
                    yield from rows.take()
        yield from rows.take()

    def _split(self) -> Iterator[CsvRow]:
        self.taken = yield from split_rows(self._raw, self._before, self._last, len(self._names), syntax=self._syntax)

    def _starts(self) -> Places:
        """Return where each row starts; empty lines are no rows."""
        newlines = _find(self._raw, _NEWLINE)
        if self._syntax.quote_byte in self._raw:
            quotes = _find(self._raw, self._syntax.quote_byte[0])
            newlines = newlines[np.searchsorted(quotes, newlines) % 2 == 0]
        starts: Places = np.concatenate([[0], newlines + 1])
        starts = starts[starts < len(self._raw)]
        first = np.frombuffer(self._raw, np.uint8)[starts]
        # A carriage return stands before a newline, or the block would be odd.
        rows: Places = starts[(first != _NEWLINE) & (first != ord("\r"))]
        return rows

    def _precise(self, starts: Places, first: int, index: int) -> Row | None:
        index += first
        start = int(starts[index])
        end = int(starts[index + 1]) if index + 1 < len(starts) else len(self._raw)
        raw = self._raw[start:end].rstrip(b"\r\n")
        cells = split_row(raw.decode(), self._syntax)
        return self._validate(CsvRow(self._line(start), raw, cells), self._first + index)

    def _line(self, start: int) -> int:
        """Return the line in the body at a place in the block; found once for all rows that are refused."""
        if self._newlines is None:
            self._newlines = _find(self._raw, _NEWLINE)
        return self._before + int(np.searchsorted(self._newlines, start)) + 1


def _is_odd(raw: bytes, syntax: CsvSyntax) -> bool:
    """Say whether Arrow might see other rows and cells in ``raw`` than the reader of rows does."""
    if b"\0" in raw or raw.count(b"\r") != raw.count(b"\r\n"):
        return True
    if BOM in raw and (raw.startswith(BOM) or b"\n" + BOM in raw):
        return True
    if syntax.quote_byte not in raw:
        return False
    quotes = _find(raw, syntax.quote_byte[0])
    if len(quotes) % 2:
        return True
    data = np.frombuffer(b"\n" + raw + b"\n", np.uint8)
    opening, closing = quotes[0::2], quotes[1::2]
    return not (syntax.may_open[data[opening]].all() and syntax.may_close[data[closing + 2]].all())


def _is_utf8(raw: bytes) -> bool:
    try:
        return raw.isascii() or bool(raw.decode())
    except UnicodeDecodeError:
        return False


def _parse(raw: bytes, names: list[str], read: list[str] | None = None, syntax: CsvSyntax = PLAIN) -> pa.Table | None:
    """Return the cells as columns of text, null where empty and not quoted; None if Arrow refuses the block.

    read: the columns that are wanted, None for all.
    """
    if not raw.endswith(b"\n"):
        # Arrow takes an empty cell at the very end for a quoted one if the cell before it is quoted.
        raw += b"\n"
    try:
        return arrow_csv.read_csv(
            pa.BufferReader(raw),
            read_options=arrow_csv.ReadOptions(use_threads=False, block_size=len(raw) + 1, column_names=names),
            parse_options=arrow_csv.ParseOptions(
                delimiter=syntax.delimiter,
                quote_char=syntax.quote,
                newlines_in_values=syntax.quote_byte in raw,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=list(syntax.nulls),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                include_columns=read,
            ),
        )
    except pa.ArrowInvalid:
        return None


def _find(raw: bytes, byte: int) -> Any:
    return np.flatnonzero(np.frombuffer(raw, np.uint8) == byte)
