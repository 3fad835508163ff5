"""Parquet, read row group by row group in batches of rows, so that memory stays at a few pages for each column."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.core.errors import Invalid, Malformed, Place
from gristmill.records.readers.columnar import PIECE_BYTES, PIECE_ROWS, read_batch
from gristmill.records.readers.parquet_pages import RowGroup, check_group, read_footer
from gristmill.records.readers.source import Source, Step, malformed
from gristmill.records.validate import RecordValidator, escape_pointer, shorten_name
from gristmill.records.vectorised import check_schema

# How much of a column chunk is read from the body at a time.
_BUFFER_BYTES = 1024 * 1024
# Numbers in lists that are too long are only read, to be refused one by one, where there are fewer than these.
_FEW_NUMBERS = 4 * 1024 * 1024


def read_parquet(source: Source) -> Iterator[Step]:
    """Yield the records of a Parquet body. Raises Malformed for what cannot be read, Invalid for a wrong schema."""
    groups = read_footer(source.file)
    source.file.seek(0)
    try:
        # Texts stay in dictionaries until their size is known: a page may repeat a long one any number of times.
        schema = pq.ParquetFile(source.file).schema_arrow
        _check_names(schema.names)
        texts = [name for name in schema.names if _may_be_dictionary(schema.field(name).type)]
        file = pq.ParquetFile(
            source.file,
            read_dictionary=texts,
            buffer_size=_BUFFER_BYTES,
            pre_buffer=False,
            page_checksum_verification=True,
        )
        places = check_schema(source.validator, schema)
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise _broken("The body is not a whole Parquet file", error) from error
    source.problems.add(*places)
    source.problems.raise_if_any()
    record = 0
    for number, group in enumerate(groups):
        _check_lists(source.validator, group, number)
        size = check_group(source.file, group, number)
        rows = max(1, min(PIECE_ROWS, int(PIECE_BYTES / max(1.0, size.bytes_per_row))))
        for batch in _batches(file, number, rows, record):
            yield from read_batch(source, pa.Table.from_batches([batch]), record)
            record += batch.num_rows


def _check_names(names: list[str]) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        shown = [shorten_name(name) for name in repeated]
        places = [
            Place(f"/{escape_pointer(n)}", "duplicate", f"The file has the column {n} twice", field=n) for n in shown
        ]
        raise Invalid(places[0].reason, places)


def _batches(file: Any, group: int, rows: int, record: int) -> Iterator[pa.RecordBatch]:
    batches = file.iter_batches(rows, [group], use_threads=False)
    while True:
        try:
            batch = next(batches, None)
            if batch is None:
                return
            # Nothing in the file is trusted: text may not be UTF-8, offsets may lead anywhere.
            batch.validate(full=True)
        except (pa.ArrowException, OSError, ValueError) as error:
            where = f"Row group {group} of the Parquet file cannot be read from record {record} on"
            raise _broken(where, error) from error
        record += batch.num_rows
        yield batch


def _check_lists(validator: RecordValidator, group: RowGroup, number: int) -> None:
    """Raise Invalid if a row group has more numbers in its vectors than fit its records: a list may be any length."""
    for chunk in group.chunks:
        field = validator.fields.get(chunk.column)
        if field is None:
            reason = f"The footer of the Parquet file is damaged: row group {number} has a column {chunk.column[:80]!r}"
            raise Malformed(reason, [malformed(reason)])
        most = max(_FEW_NUMBERS, group.rows * (field.dimensions or 1))
        if chunk.values > most:
            reason = (
                f"Row group {number} has {chunk.values} values in the column {field.name} for {group.rows} records: "
                f"a record has {field.dimensions or 1} there"
            )
            raise Invalid(reason, [Place(f"/{field.name}", "wrong_length", reason, field=field.name)])


def _may_be_dictionary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind))


def _broken(where: str, error: Exception) -> Malformed:
    reason = f"{where}: {str(error).splitlines()[0][:300] if str(error) else type(error).__name__}"
    return Malformed(reason, [malformed(reason)])
