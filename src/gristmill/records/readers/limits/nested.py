"""What lists and structs of json fields take, found out before their values become Python objects.

A list may be any length, and its values may take no bytes: nulls, or views of one long text.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.types.nested import count_values, json_bytes, longest_list
from gristmill.kit.json_pointer import escape_pointer
from gristmill.records.readers.context import MAX_RECORD_BYTES
from gristmill.records.readers.limits.parquet_pages import GroupSize, RowGroup
from gristmill.records.validation.rows import shorten_name

# Most bytes of what is in the lists of one row group, written out: they may all belong to one record.
MAX_LIST_BYTES = 256 * 1024 * 1024
# Most values of all levels in a record batch of Arrow, or in what is read of a row group at a time.
MAX_VALUES = 8 * 1024 * 1024
# Columns that a message lists.
_LISTED = 20

Sizes = npt.NDArray[np.float64]


def check_lists(group: RowGroup, size: GroupSize, nested: Sequence[int], number: int) -> float:
    """Return how many bytes a row of a row group has in its lists, on average. Raises Invalid for too many.

    nested: which column chunks hold what is in lists.
    """
    written_out = sum(size.chunks[index].written_out for index in nested)
    if written_out > MAX_LIST_BYTES:
        reason = (
            f"Row group {number} of the Parquet file has lists of up to {written_out} bytes: at most {MAX_LIST_BYTES} "
            f"are allowed. Write it in smaller row groups, with pyarrow for example by write_table(table, "
            f"row_group_size={max(1, group.rows * MAX_LIST_BYTES // written_out // 2)})"
        )
        raise Invalid(reason, [Violation(_pointer(group.chunks[nested[0]].column), "row_group_too_large", reason)])
    return written_out / max(1, group.rows)


def check_nested(columns: Mapping[str, pa.ChunkedArray], rows: int, first_record: int) -> Sizes:
    """Return how many bytes of JSON each of the rows has in nested ``columns`` at least.

    Raises Invalid where there are too many values, or too many in one record.
    """
    values = sum(count_values(chunk) for column in columns.values() for chunk in column.chunks)
    if values > MAX_VALUES:
        reason = (
            f"The records from {first_record} on have {values} values in {_listed(columns)}, in one record batch: "
            f"at most {MAX_VALUES} are allowed. Write smaller batches"
        )
        raise Invalid(reason, [Violation(_pointer(next(iter(columns))), "batch_too_large", reason)])
    total = np.zeros(rows)
    for name, column in columns.items():
        # Before anything is allocated for each of the items, of which each has a comma at least.
        longest = max((longest_list(chunk) for chunk in column.chunks), default=0)
        if 2 * longest > MAX_RECORD_BYTES:
            record = first_record + _place_of_list(column, longest)
            reason = f"{shorten_name(name)} has a list of {longest} items"
            reason += f": a record takes at most {MAX_RECORD_BYTES} bytes as JSON"
            raise _too_large(record, name, reason)
        sizes = np.concatenate([np.empty(0), *(json_bytes(chunk) for chunk in column.chunks)])
        if len(sizes) and sizes.max() > MAX_RECORD_BYTES:
            record = first_record + int(sizes.argmax())
            reason = (
                f"{shorten_name(name)} takes {int(sizes.max())} bytes as JSON: at most {MAX_RECORD_BYTES} are allowed"
            )
            raise _too_large(record, name, reason)
        total += sizes
    return total


def check_unknown_sizes(columns: Mapping[str, pa.ChunkedArray], rows: int, first_record: int) -> Sizes:
    """Return how many bytes of JSON each of the rows has at least in ``columns``, which become one value with names.

    Raises Invalid where one record has too many.
    """
    total = np.zeros(rows)
    for name, column in columns.items():
        start = 0
        for chunk in column.chunks:
            values = chunk.storage if isinstance(chunk, pa.ExtensionArray) else chunk
            given = values.is_valid().to_numpy(zero_copy_only=False)
            total[start : start + len(chunk)] += np.where(given, json_bytes(values) + len(name), 0.0)
            start += len(chunk)
    if rows and total.max() > MAX_RECORD_BYTES:
        record = first_record + int(total.argmax())
        reason = f"The members that are no fields take {int(total.max())} bytes as JSON"
        reason += f": a record takes at most {MAX_RECORD_BYTES}"
        raise Invalid(reason, [Violation(f"/{record}", "record_too_large", reason, record)])
    return total


def _too_large(record: int, name: str, reason: str) -> Invalid:
    pointer = f"/{record}{_pointer(name)}"
    return Invalid(reason, [Violation(pointer, "record_too_large", reason, record, field=shorten_name(name))])


def _pointer(name: str) -> str:
    return f"/{escape_pointer(shorten_name(name))}"


def _listed(columns: Mapping[str, pa.ChunkedArray]) -> str:
    names = [shorten_name(name) for name in list(columns)[:_LISTED]]
    more = [f"{len(columns) - _LISTED} more"] if len(columns) > _LISTED else []
    return " and ".join([*names, *more])


def _place_of_list(column: pa.ChunkedArray, items: int) -> int:
    """Return the row that has the list of so many items."""
    first, last = 0, len(column)
    while last - first > 1:
        middle = (first + last) // 2
        half = column.slice(first, middle - first)
        found = max(longest_list(chunk) for chunk in half.chunks) == items
        first, last = (first, middle) if found else (middle, last)
    return first
