"""Blocks of columns become blocks of valid records: validated whole first, and row by row only where that fails."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import ValidationError

from gristmill.core.errors import Violation
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.columns import as_python, plain_type, text_bytes
from gristmill.datasets.types.json import read_plain
from gristmill.kit.json_pointer import escape_pointer
from gristmill.records.columns import Row
from gristmill.records.readers.context import ReadContext, RecordBlock, count_from, refuse
from gristmill.records.readers.limits.nested import Sizes, check_nested, check_unknown_sizes
from gristmill.records.validation.columns import check_columns, show_row
from gristmill.records.validation.rows import shorten_name

# Blocks are validated in pieces of about this size, and of at most so many rows.
PIECE_BYTES = 4 * 1024 * 1024
PIECE_ROWS = 16_384


def by_field(source: ReadContext, schema: pa.Schema) -> pa.Schema:
    """Return the schema of a body with the names of fields for those that clients may call them by besides."""
    return pa.schema([one.with_name(source.validator.name_of(one.name)) for one in schema])


def read_batch(source: ReadContext, batch: pa.Table, first_record: int) -> Iterator[RecordBlock]:
    """Yield the valid records of a table of loosely typed columns that ``check_schema`` accepts; refuse the others."""
    nests = {name for name, field in source.validator.fields.items() if TYPES[field.type].nests}
    unknown = {name: batch[name] for name in batch.column_names if name not in source.validator.fields}
    nested = {
        name: batch[name]
        for name in batch.column_names
        if (name in nests or name in unknown) and pa.types.is_nested(batch[name].type)
    }
    sizes = check_nested(nested, batch.num_rows, first_record)
    if unknown:
        sizes = sizes + check_unknown_sizes(unknown, batch.num_rows, first_record)
    for start, piece in _pieces(batch, sizes):
        first = first_record + start
        yield from to_steps(source, piece, first, partial(_precise, source, piece, first))


def to_steps(
    source: ReadContext, table: pa.Table, first_record: int, precise: Callable[[int], Row | None], cells: bool = False
) -> Iterator[RecordBlock]:
    """Yield the valid records of ``table`` as at most one step.

    precise: validates the record of one row, and refuses it where it returns None. cells: the columns are CSV's.
    """
    columns, bad = check_columns(source.validator, table, cells)
    ords = count_from(first_record, table.num_rows)
    marked = np.flatnonzero(bad)
    if len(marked):
        found = [(index, row) for index in marked.tolist() if (row := precise(index)) is not None]
        columns, ords = columns.filter(pa.array(~bad)), ords[~bad]
        if found and not source.problems.total:
            rows = source.validator.to_table([row for _, row in found])
            ords = np.concatenate([ords, np.array([first_record + index for index, _ in found], np.int64)])
            order = np.argsort(ords)
            columns, ords = pa.concat_tables([columns, rows]).take(pa.array(order)), ords[order]
    if len(ords) and not source.problems.total:
        yield RecordBlock(columns, ords)


def _precise(source: ReadContext, table: pa.Table, first_record: int, index: int) -> Row | None:
    validator, record = source.validator, first_record + index
    row: Row = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        field, value = validator.fields.get(name), column[index]
        try:
            if field is not None:
                row[name] = TYPES[field.type].from_arrow(field, value)
            elif (member := read_plain(value)) is not None:
                row[name] = member
        except ValueError as error:
            reason, shown = f"{shorten(as_python(value))}: {error}", shorten_name(name)
            violation = Violation(f"/{record}/{escape_pointer(shown)}", "not_json", reason, record, None, shown)
            refuse(source, record, None, show_row(validator, table, index), [violation])
            return None
    try:
        return validator.validate_python(row)
    except ValidationError as error:
        violations, total = validator.violations(error, f"/{record}", record)
        refuse(source, record, None, show_row(validator, table, index), violations, total)
        return None


def _pieces(table: pa.Table, nested: Sizes) -> Iterator[tuple[int, pa.Table]]:
    """Yield (first row, rows) such that each piece is small, also once its texts are written out.

    One long text in a dictionary may stand in every row: written out at once that would be any amount of memory.
    nested: bytes that each row has besides, written out.
    """
    for first in range(0, table.num_rows, PIECE_ROWS):
        part = table.slice(first, PIECE_ROWS)
        sizes = part.nbytes / part.num_rows + nested[first : first + PIECE_ROWS]
        for column in part.columns:
            sizes += _written_out(column)
        ends = np.cumsum(sizes)
        start = 0
        while start < part.num_rows:
            before = ends[start - 1] if start else 0.0
            end = max(start + 1, min(int(np.searchsorted(ends, before + PIECE_BYTES)), part.num_rows))
            yield first + start, part.slice(start, end - start)
            start = end


def _written_out(column: pa.ChunkedArray) -> Any:
    """Return how long the texts or bytes in each row are, if rows may share them; else 0."""
    kind = column.type
    in_dictionary = pa.types.is_dictionary(kind) and plain_type(kind.value_type) in (pa.string(), pa.binary())
    if not in_dictionary and not pa.types.is_string_view(kind) and not pa.types.is_binary_view(kind):
        return 0
    lengths = [text_bytes(chunk) for chunk in column.chunks]
    return pc.fill_null(pa.chunked_array(lengths, lengths[0].type), 0).to_numpy()
