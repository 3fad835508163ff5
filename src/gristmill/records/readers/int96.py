"""INT96 timestamps of Parquet: a day and the nanoseconds of it, more than a timestamp of Arrow holds in any unit.

pyarrow lets what does not fit its unit wrap around without a word. Seconds hold every INT96 there is, and what a finer
unit wraps by is a multiple of 2^64: read in three units, a column gives each value exactly.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

# Seconds since 1970 that nanoseconds, and the calendar's years 1 to 9999, reach for certain.
_NANOSECONDS = (-(2**63) // 10**9 + 2, 2**63 // 10**9 - 2)
_CALENDAR = (-62_135_596_800, 253_402_300_800)
# The units in which the columns are read beside nanoseconds.
UNITS = ("us", "s")


def int96_columns(file: Any) -> list[str]:
    """Return the names of the columns of a ``ParquetFile`` whose physical type is INT96."""
    columns = [file.schema.column(index) for index in range(len(file.schema))]
    return [column.path for column in columns if column.physical_type == "INT96"]


def exact(batches: Iterator[pa.RecordBatch], *others: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the batches with their INT96 columns exact. others: those columns alone in each of ``UNITS``.

    A column is timestamp[ns] where that holds all of its values, else timestamp[us], else the values as texts with
    all their digits, which is what an error shows.
    """
    for batch, *finer in zip(batches, *others, strict=True):
        for name in finer[0].schema.names if finer else ():
            column = _exact(batch[name], *(other[name] for other in finer))
            batch = batch.set_column(batch.schema.get_field_index(name), name, column)
        yield batch


def _exact(nanoseconds: pa.Array, microseconds: pa.Array, seconds: pa.Array) -> pa.Array:
    whole = _values(seconds)
    if _within(whole, *_NANOSECONDS):
        return nanoseconds
    # Unsigned numbers wrap around as the reader's have: the differences are the true ones.
    fine, coarse = _values(nanoseconds).view(np.uint64), _values(microseconds).view(np.uint64)
    digits = fine - coarse * np.uint64(1000)
    if _within(whole, *_CALENDAR) and not digits.any():
        return microseconds
    fractions = (coarse - whole.view(np.uint64) * np.uint64(10**6)) * np.uint64(1000) + digits
    rows = zip(whole.tolist(), fractions.tolist(), seconds.is_valid().to_pylist(), strict=True)
    texts = [f"{np.datetime64(second, 's')}.{fraction:09d}" if valid else None for second, fraction, valid in rows]
    return pa.array([text and text.removesuffix("000").removesuffix(".000000") for text in texts], pa.string())


def _values(array: pa.Array) -> npt.NDArray[np.int64]:
    """Return the raw numbers, 0 for nulls."""
    found: npt.NDArray[np.int64] = array.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    return found


def _within(values: npt.NDArray[np.int64], low: int, high: int) -> bool:
    return bool(((values >= low) & (values < high)).all())
