"""What lists and structs of json fields take, found out before their values become Python objects.

A list may be any length, and its values may take no bytes: nulls, or views of one long text.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.types.nested import count_values, json_bytes, longest_list
from gristmill.records.readers.context import MAX_RECORD_BYTES
from gristmill.records.readers.limits.parquet_pages import GroupSize, RowGroup

# Most bytes of what is in the lists of one row group, written out: they may all belong to one record.
MAX_LIST_BYTES = 256 * 1024 * 1024
# Most values of all levels in a record batch of Arrow, or in what is read of a row group at a time.
MAX_VALUES = 8 * 1024 * 1024

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
        raise Invalid(reason, [Violation(f"/{group.chunks[nested[0]].column}", "row_group_too_large", reason)])
    return written_out / max(1, group.rows)


def check_nested(columns: Mapping[str, pa.ChunkedArray], rows: int, first_record: int) -> Sizes:
    """Return how many bytes of JSON each of the rows has in nested ``columns`` at least.

    Raises Invalid where there are too many values, or too many in one record.
    """
    values = sum(count_values(chunk) for column in columns.values() for chunk in column.chunks)
    if values > MAX_VALUES:
        reason = (
            f"The records from {first_record} on have {values} values in {' and '.join(columns)}, in one record batch: "
            f"at most {MAX_VALUES} are allowed. Write smaller batches"
        )
        raise Invalid(reason, [Violation(f"/{next(iter(columns))}", "batch_too_large", reason)])
    total = np.zeros(rows)
    for name, column in columns.items():
        # Before anything is allocated for each of the items, of which each has a comma at least.
        longest = max((longest_list(chunk) for chunk in column.chunks), default=0)
        if 2 * longest > MAX_RECORD_BYTES:
            record = first_record + _place_of_list(column, longest)
            reason = f"{name} has a list of {longest} items: a record takes at most {MAX_RECORD_BYTES} bytes as JSON"
            raise Invalid(reason, [Violation(f"/{record}/{name}", "record_too_large", reason, record, field=name)])
        sizes = np.concatenate([np.empty(0), *(json_bytes(chunk) for chunk in column.chunks)])
        if len(sizes) and sizes.max() > MAX_RECORD_BYTES:
            record = first_record + int(sizes.argmax())
            reason = f"{name} takes {int(sizes.max())} bytes as JSON: at most {MAX_RECORD_BYTES} are allowed"
            raise Invalid(reason, [Violation(f"/{record}/{name}", "record_too_large", reason, record, field=name)])
        total += sizes
    return total


def _place_of_list(column: pa.ChunkedArray, items: int) -> int:
    """Return the row that has the list of so many items."""
    first, last = 0, len(column)
    while last - first > 1:
        middle = (first + last) // 2
        half = column.slice(first, middle - first)
        found = max(longest_list(chunk) for chunk in half.chunks) == items
        first, last = (first, middle) if found else (middle, last)
    return first
