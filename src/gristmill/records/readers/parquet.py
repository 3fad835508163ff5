"""Parquet, read row group by row group in batches of rows, so that memory stays at a few pages for each column.

However many rows a group has: nothing is kept from one batch to the next but the pages that are open.
"""

from collections import Counter
from collections.abc import Container, Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gristmill.core.errors import Invalid, Malformed, Violation
from gristmill.datasets.types import TYPES
from gristmill.kit.json_pointer import escape_pointer
from gristmill.records.readers.columnar import PIECE_BYTES, PIECE_ROWS, by_field, read_batch
from gristmill.records.readers.context import ReadContext, RecordBlock, malformed
from gristmill.records.readers.int96 import UNITS, exact, int96_columns
from gristmill.records.readers.limits.nested import check_lists
from gristmill.records.readers.limits.parquet_dictionary import Dictionaries
from gristmill.records.readers.limits.parquet_pages import Leaf, RowGroup, check_group, read_footer
from gristmill.records.validation.columns import check_schema
from gristmill.records.validation.rows import shorten_name

# How much of a column chunk is read from the body at a time.
_BUFFER_BYTES = 1024 * 1024
# Numbers in lists that are too long are only read, to be refused one by one, where there are fewer than these.
_FEW_NUMBERS = 4 * 1024 * 1024
# What texts may take in a batch if each were the longest: a page may repeat a long one any number of times.
_WRITTEN_OUT_BYTES = 16 * 1024 * 1024


def read_parquet(source: ReadContext) -> Iterator[RecordBlock]:
    """Yield the records of a Parquet body. Raises Malformed for what cannot be read, Invalid for a wrong schema."""
    groups = read_footer(source.file)
    source.file.seek(0)
    try:
        file = _open(source)
        schema = file.schema_arrow
        _check_names(schema.names)
        leaves = [_leaf(file.schema.column(index)) for index in range(len(file.schema))]
        read, passed_over = _columns_to_read(source, schema.names, leaves)
        skipped = {leaves[index].path for index in passed_over}
        timestamps = [path for path in int96_columns(file) if path not in skipped]
        finer = [_open(source, unit) for unit in UNITS] if timestamps else []
        violations = [*_check_nested_int96(timestamps), *check_schema(source.validator, by_field(source, schema))]
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise _broken("The body is not a whole Parquet file", error) from error
    source.problems.add(*violations)
    source.problems.raise_if_any()
    vectors = sum(4 * (field.dimensions or 0) for field in source.validator.fields.values())
    record, dictionaries = 0, Dictionaries()
    for number, group in enumerate(groups):
        size = check_group(source.file, group, number, leaves, dictionaries, passed_over)
        nested = _check_values(source, group, number, leaves, passed_over)
        longest = sum(chunk.longest for chunk in size.chunks)
        in_lists = check_lists(group, size, nested, number)
        bytes_per_row = max(size.bytes_per_row, vectors, in_lists, 1)
        rows = min(PIECE_ROWS, PIECE_BYTES // bytes_per_row, _WRITTEN_OUT_BYTES // max(longest, 1))
        most = max(1, int(rows))
        others = [_batches(other, number, most, record, timestamps) for other in finer]
        for batch in exact(_batches(file, number, most, record, read), *others):
            table = pa.Table.from_batches([batch])
            yield from read_batch(source, table.rename_columns(by_field(source, table.schema).names), record)
            record += batch.num_rows


def _columns_to_read(
    source: ReadContext, names: Sequence[str], leaves: Sequence[Leaf]
) -> tuple[list[str] | None, frozenset[int]]:
    """Return the columns to read, None for all of them, and the indexes of the leaves that are passed over."""
    validator = source.validator
    read = [name for name in names if validator.name_of(name) in validator.fields]
    if validator.unknown != "ignore" or len(read) == len(names):
        return None, frozenset()
    # pyarrow reads every column whose path starts with one of the names, "a.b" for "a" too; a name may have a dot.
    kept = tuple(f"{name}." for name in read)
    passed_over = (index for index, leaf in enumerate(leaves) if not f"{leaf.path}.".startswith(kept))
    return read, frozenset(passed_over)


def _check_names(names: list[str]) -> None:
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        shown = [shorten_name(name) for name in repeated]
        violations = [
            Violation(f"/{escape_pointer(n)}", "duplicate", f"The file has the column {n} twice", field=n)
            for n in shown
        ]
        raise Invalid(violations[0].reason, violations)


def _open(source: ReadContext, unit: str = "ns") -> Any:
    """Return the file. unit: of INT96 timestamps."""
    return pq.ParquetFile(
        source.file,
        coerce_int96_timestamp_unit=unit,
        buffer_size=_BUFFER_BYTES,
        pre_buffer=False,
        page_checksum_verification=True,
    )


def _batches(
    file: Any, group: int, rows: int, record: int, columns: list[str] | None = None
) -> Iterator[pa.RecordBatch]:
    batches = file.iter_batches(rows, [group], columns, use_threads=False)
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
        # By a name pyarrow also reads the columns whose names go on with a dot after it.
        yield batch if columns is None else batch.select(columns)


def _leaf(column: Any) -> Leaf:
    return Leaf(column.path, column.physical_type == "BYTE_ARRAY", column.max_repetition_level)


def _check_nested_int96(paths: list[str]) -> Iterator[Violation]:
    """Yield the columns with INT96 timestamps inside of them: pyarrow lets what does not fit wrap around."""
    for path in paths:
        name, _, within = path.partition(".")
        if within:
            name = shorten_name(name)
            reason = f"{shorten_name(path)} is an INT96 timestamp inside of the column {name}: write it as INT64"
            yield Violation(f"/{escape_pointer(name)}", "wrong_type", reason, field=name)


def _check_values(
    source: ReadContext, group: RowGroup, number: int, leaves: Sequence[Leaf], passed_over: Container[int]
) -> list[int]:
    """Return which chunks of a row group hold what is in lists of json fields, or of columns that are no fields.

    Raises Invalid if there are more numbers in its vectors than fit its records: a list may be any length.
    """
    found = []
    for index, (chunk, leaf) in enumerate(zip(group.chunks, leaves, strict=True)):
        field = source.validator.fields.get(source.validator.name_of(chunk.column))
        if index in passed_over:
            continue
        if field is None or (leaf.levels and TYPES[field.type].nests):
            if leaf.levels:
                found.append(index)
            continue
        most = max(_FEW_NUMBERS, group.rows * (field.dimensions or 1))
        if chunk.values > most:
            reason = (
                f"Row group {number} has {chunk.values} values in the column {field.name} for {group.rows} records: "
                f"a record has {field.dimensions or 1} there"
            )
            raise Invalid(reason, [Violation(f"/{field.name}", "wrong_length", reason, field=field.name)])
    return found


def _broken(where: str, error: Exception) -> Malformed:
    reason = f"{where}: {str(error).splitlines()[0][:300] if str(error) else type(error).__name__}"
    return Malformed(reason, [malformed(reason)])
