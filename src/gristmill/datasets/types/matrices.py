"""Columns of lists of numbers as matrices of 32-bit floats, and matrices as columns."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.datasets.types.columns import Mask, valid_mask

# The largest 32-bit float in the fewest digits that name it, as reads show it; a little above its exact value.
FLOAT32_MAX = 3.4028235e38

Numbers = npt.NDArray[Any]


def vector_column(vectors: Sequence[Any] | Numbers, dimensions: int) -> pa.Array:
    """Return vectors as a float32 column; None and rows that hold NaN become null.

    vectors: a list of lists of numbers or None, or an array of shape (rows, dimensions).
    """
    if not isinstance(vectors, np.ndarray):
        # Arrow would take the numbers one by one, some 70 times slower than numpy does.
        empty = [np.nan] * dimensions
        vectors = np.array([empty if vector is None else vector for vector in vectors], np.float32)
    numbers = np.ascontiguousarray(vectors, np.float32).reshape(-1, dimensions)
    null = np.isnan(numbers).any(axis=1)
    mask = pa.array(null) if null.any() else None
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), dimensions, mask=mask)


def halved(vectors: pa.FixedSizeListArray) -> pa.FixedSizeListArray:
    """Return a float32 column with every number as the nearest 16-bit float."""
    size = vectors.type.list_size
    numbers = vectors.values.slice(vectors.offset * size, len(vectors) * size).to_numpy(zero_copy_only=False)
    mask = pc.is_null(vectors) if vectors.null_count else None
    return pa.FixedSizeListArray.from_arrays(pa.array(numbers.astype(np.float16)), size, mask=mask)


def read_matrix(size: int, array: pa.Array) -> tuple[Numbers, Mask, Mask]:
    """Return (numbers of shape (rows, dimensions) as float32, which rows are not null, which have that shape)."""
    valid = valid_mask(array)
    good = valid.copy()
    if pa.types.is_fixed_size_list(array.type):
        inner = array.values.slice(array.offset * size, len(array) * size)
        rows = good
        whole = True
    else:
        good &= array.value_lengths().fill_null(0).to_numpy() == size
        whole = bool(good.all())
        inner = (array if whole else array.filter(pa.array(good))).flatten()
        rows = good.copy()
    numbers, wrong = _float32(inner)
    numbers, wrong = numbers.reshape(-1, size), None if wrong is None else wrong.reshape(-1, size).any(axis=1)
    if whole:
        if wrong is not None:
            good &= ~wrong
        return numbers, valid, good
    spread = np.zeros((len(array), size), np.float32)
    spread[rows] = numbers
    if wrong is not None:
        good[rows] &= ~wrong
    return spread, valid, good


def _float32(inner: pa.Array) -> tuple[Numbers, Any]:
    """Return the numbers in 32 bits, and which of them are null or beyond that (None: none is)."""
    wrong = None
    if inner.null_count:
        wrong = inner.is_null().to_numpy(zero_copy_only=False)
        inner = inner.fill_null(0)
    if pa.types.is_integer(inner.type):
        # By way of a double, as JSON numbers go.
        inner = inner.cast(pa.float64(), safe=False)
    numbers = inner.to_numpy(zero_copy_only=False)
    if numbers.dtype == np.float64:
        with np.errstate(invalid="ignore"):
            beyond = ~(np.abs(numbers) <= FLOAT32_MAX)
        if beyond.any():
            numbers = np.where(beyond, 0.0, numbers)
            wrong = beyond if wrong is None else wrong | beyond
    return numbers.astype(np.float32, copy=False), wrong
