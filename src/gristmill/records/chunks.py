"""Cutting a stream of validated records into chunks: tables that one worker commits in one transaction each."""

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from gristmill.core.errors import Place
from gristmill.records.columns import to_table
from gristmill.records.readers.source import Reader, Source
from gristmill.records.validate import Row

# A payload's limit is that of its uncompressed columns, which no codec can exceed by more than a few headers.
MAX_PAYLOAD_BYTES = 8 * 1024 * 1024
# Rows are turned into columns in steps of this many, or of this much text, whichever comes first.
STEP_ROWS = 1000
STEP_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one chunk: ``table`` holds the records of the request from ``first_record`` on."""

    first_record: int
    table: pa.Table


def read_batches(reader: Reader, source: Source, max_bytes: int, max_records: int) -> Iterator[Batch]:
    """Yield the records of a body as batches of at most ``max_records`` records and about ``max_bytes`` bytes.

    After the first problem the rest is only validated, and nothing is yielded any more. Raises Invalid (Malformed)
    with all problems at the end, and when there is no record at all.
    """
    parts: list[pa.Table] = []
    first = records = size = 0
    for step in _read_tables(reader, source, min(STEP_ROWS, max_records)):
        for table in _fit(step, max_bytes):
            if parts and (size + table.nbytes > max_bytes or records + table.num_rows > max_records):
                yield _batch(first, parts)
                first, parts, records, size = first + records, [], 0, 0
            parts.append(table)
            records += table.num_rows
            size += table.nbytes
    if not parts and not source.problems.total:
        source.problems.add(Place("", "empty", "The batch holds no record"))
    source.problems.raise_if_any()
    yield _batch(first, parts)


def _batch(first_record: int, parts: list[pa.Table]) -> Batch:
    table = parts[0] if len(parts) == 1 else pa.concat_tables(parts).combine_chunks()
    return Batch(first_record, table)


def _read_tables(reader: Reader, source: Source, step_rows: int) -> Iterator[pa.Table]:
    """Yield the valid records as small tables, until the first problem."""
    rows: list[Row] = []
    size = done = 0
    contract, problems = source.validator.contract, source.problems
    for row, taken in reader(source):
        if problems.total:
            rows = []
            continue
        rows.append(row)
        size += taken
        if len(rows) >= step_rows or size >= STEP_BYTES:
            yield from _checked(to_table(contract, rows), done, source)
            done += len(rows)
            rows, size = [], 0
    if rows and not problems.total:
        yield from _checked(to_table(contract, rows), done, source)


def _checked(table: pa.Table, first_record: int, source: Source) -> Iterator[pa.Table]:
    """Yield ``table`` unless one of its records alone is too large for a payload."""
    if table.nbytes > MAX_PAYLOAD_BYTES:
        for index in range(table.num_rows):
            size = table.slice(index, 1).nbytes
            if size > MAX_PAYLOAD_BYTES:
                record = first_record + index
                reason = f"The record takes {size} bytes: at most {MAX_PAYLOAD_BYTES} are allowed"
                source.problems.add(Place(f"/{record}", "record_too_large", reason, record))
    if not source.problems.total:
        yield table


def _fit(table: pa.Table, max_bytes: int) -> Iterator[pa.Table]:
    """Yield ``table`` in halves, until each part fits ``max_bytes`` or is a single record."""
    if table.nbytes <= max_bytes or table.num_rows == 1:
        yield table
        return
    middle = table.num_rows // 2
    yield from _fit(table.slice(0, middle), max_bytes)
    yield from _fit(table.slice(middle), max_bytes)
