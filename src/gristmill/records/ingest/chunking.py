"""Cutting a stream of validated records into chunks: tables that one worker commits in one transaction each."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from gristmill.core.errors import TooLarge, Violation
from gristmill.datasets.contract import Contract
from gristmill.records.columns import ORD_COLUMN
from gristmill.records.readers.context import Ords, ReadContext, Reader, RecordBlock, refuse
from gristmill.records.spool import BodySpool
from gristmill.records.validation.columns import show_row

# A payload's limit is that of its uncompressed columns, which no codec can exceed by more than a few headers.
MAX_PAYLOAD_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one chunk.

    first_record: index in the request of the first row. ords: that of every row where records in between were
    rejected, else None: the rows follow each other.
    """

    first_record: int
    table: pa.Table
    ords: Ords | None = None

    def payload(self) -> pa.Table:
        """Return the table to stage: with the column ``_ord`` (int64) where there are ``ords``."""
        if self.ords is None:
            return self.table
        return self.table.append_column(ORD_COLUMN, pa.array(self.ords, pa.int64()))


def read_batches(reader: Reader, source: ReadContext, max_bytes: int, max_records: int) -> Iterator[Batch]:
    """Yield the records of a body as batches of at most ``max_records`` records and about ``max_bytes`` bytes.

    After the first problem the rest is only validated, and nothing is yielded any more. Raises Invalid (Malformed)
    with all problems at the end, and when there is no record at all. If all records were rejected there is one batch
    without rows.
    """
    parts: list[RecordBlock] = []
    records = size = 0
    yielded = False
    for step in reader(source):
        left = _storable(step, source)
        while left.table.num_rows and not source.problems.total:
            fits = _rows_that_fit(left.table, max_bytes - size, max_records - records)
            if parts and not fits:
                batch, parts, records, size, yielded = _batch(parts), [], 0, 0, True
                yield batch
                # Whoever got it may be done with it before there is a next one.
                del batch
                continue
            # A record that is larger than a batch may be makes a batch of its own.
            part, left = left.slice(0, max(1, fits)), left.slice(max(1, fits))
            parts.append(part)
            records += part.table.num_rows
            size += part.table.nbytes
    if not parts and not yielded and not source.problems.total and not source.problems.rejected:
        source.problems.add(Violation("", "empty", "The batch holds no record"))
    source.problems.raise_if_any()
    if parts:
        yield _batch(parts)
    elif not yielded:
        yield Batch(0, source.validator.to_table([]))


def only_one(batches: Iterator[Batch], max_bytes: int, max_records: int) -> Iterator[Batch]:
    """Yield the one batch that there is: of a dataset whose pipeline works on whole batches.

    Raises TooLarge where there are more, with the limits that the first was cut by.
    """
    first = next(batches)
    yield first
    records, size = first.table.num_rows, first.table.nbytes
    # Whoever got it may be done with it before there is a next one.
    del first
    for _ in batches:
        limits = f"at most {max_records} records (transforms.max_batch_records) of {max_bytes} bytes (jobs.chunk_bytes)"
        raise TooLarge(
            f"The batch goes on after {records} records of {size} bytes, and a step of the pipeline takes a batch as a "
            f"whole: send {limits} in one request",
            max_records=max_records,
            max_bytes=max_bytes,
        )


def _batch(parts: list[RecordBlock]) -> Batch:
    if len(parts) == 1:
        table, ords = parts[0].table, parts[0].ords
    else:
        table = pa.concat_tables([part.table for part in parts]).combine_chunks()
        ords = np.concatenate([part.ords for part in parts])
    first = int(ords[0])
    unbroken = int(ords[-1]) - first == len(ords) - 1
    return Batch(first, table, None if unbroken else ords)


def _rows_that_fit(table: pa.Table, max_bytes: int, max_rows: int) -> int:
    """Return how many of the first rows take at most ``max_bytes``, to within a quarter, and ``max_rows``."""
    rows: int = min(table.num_rows, max_rows)
    while rows > 0:
        size: int = table.slice(0, rows).nbytes
        if size <= max_bytes:
            return rows
        # Rows differ in size, so the average is only a guess; it shrinks at least by a quarter.
        rows = min(rows * max(0, max_bytes) // size, rows * 3 // 4)
    return 0


def _storable(step: RecordBlock, source: ReadContext) -> RecordBlock:
    """Return ``step`` without the records that alone are too large for a payload, which are refused."""
    table = step.table
    if table.nbytes <= MAX_PAYLOAD_BYTES:
        return step
    keep = np.ones(table.num_rows, np.bool_)
    for index in range(table.num_rows):
        size = table.slice(index, 1).nbytes
        if size > MAX_PAYLOAD_BYTES:
            record = int(step.ords[index])
            reason = f"The record takes {size} bytes: at most {MAX_PAYLOAD_BYTES} are allowed"
            violation = Violation(f"/{record}", "record_too_large", reason, record)
            refuse(source, record, None, show_row(source.validator, table, index), [violation])
            keep[index] = False
    return step if keep.all() else RecordBlock(table.filter(pa.array(keep)), step.ords[keep])


def most_values(contract: Contract, body: BodySpool) -> int:
    """Return how many values the records in ``body`` have at most."""
    columns = contract.input_columns
    return body.open().read().count(b"{") * (len(columns) + sum(column.dimensions or 0 for column in columns))
