"""Blocks of columns become steps of valid records: judged as a whole first, and row by row only where that fails."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import ValidationError

from gristmill.core.errors import Place
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.records.columns import to_table
from gristmill.records.jsonlike import read_row, show_row
from gristmill.records.readers.source import Source, Step, count_from, refuse
from gristmill.records.validate import Row
from gristmill.records.vectorised import check_columns
from gristmill.records.vectorised_accepted import storage_type

# Blocks are judged in pieces of about this size, and of at most so many rows.
PIECE_BYTES = 4 * 1024 * 1024
PIECE_ROWS = 16_384


def read_batch(source: Source, batch: pa.Table, first_record: int) -> Iterator[Step]:
    """Yield the valid records of a table of loosely typed columns that ``check_schema`` accepts; refuse the others."""
    for start, piece in _pieces(batch):
        first = first_record + start
        yield from to_steps(source, piece, first, partial(_precise, source, piece, first))


def to_steps(
    source: Source, table: pa.Table, first_record: int, precise: Callable[[int], Row | None], cells: bool = False
) -> Iterator[Step]:
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
            rows = to_table(source.validator.contract, [row for _, row in found])
            ords = np.concatenate([ords, np.array([first_record + index for index, _ in found], np.int64)])
            order = np.argsort(ords)
            columns, ords = pa.concat_tables([columns, rows]).take(pa.array(order)), ords[order]
    if len(ords) and not source.problems.total:
        yield Step(columns, ords)


def _precise(source: Source, table: pa.Table, first_record: int, index: int) -> Row | None:
    validator, record = source.validator, first_record + index
    row = read_row(validator, table, index)
    for name, value in row.items():
        field = validator.fields[name]
        if field.type == "json" and value is not None:
            try:
                row[name] = TYPES["json"].from_text(field, value)
            except ValueError as error:
                place = Place(f"/{record}/{name}", "not_json", f"{shorten(value)}: {error}", record, None, name)
                refuse(source, record, None, show_row(validator, table, index), [place])
                return None
    try:
        return validator.validate_python(row)
    except ValidationError as error:
        places, total = validator.places(error, f"/{record}", record)
        refuse(source, record, None, show_row(validator, table, index), places, total)
        return None


def _pieces(table: pa.Table) -> Iterator[tuple[int, pa.Table]]:
    """Yield (first row, rows) such that each piece is small, also once its dictionaries are written out.

    One long text in a dictionary may stand in every row: written out at once that would be any amount of memory.
    """
    count = table.num_rows
    sizes = np.full(count, table.nbytes / max(1, count))
    for column in table.columns:
        if pa.types.is_dictionary(column.type) and _has_bytes(column.type.value_type):
            lengths = [pc.take(pc.binary_length(chunk.dictionary), chunk.indices) for chunk in column.chunks]
            sizes += pa.chunked_array(lengths, lengths[0].type).fill_null(0).to_numpy() if lengths else 0
    ends = np.cumsum(sizes)
    start = 0
    while start < count:
        before = ends[start - 1] if start else 0.0
        end = max(start + 1, min(int(np.searchsorted(ends, before + PIECE_BYTES)), start + PIECE_ROWS, count))
        yield start, table.slice(start, end - start)
        start = end


def _has_bytes(kind: pa.DataType) -> bool:
    return storage_type(kind) in (pa.string(), pa.binary())
