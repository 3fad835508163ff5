"""Columns of vectors, judged as a whole; see ``vectorised`` and, for what a judge returns, ``vectorised_texts``."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gristmill.datasets.contract import FLOAT16_MAX, Contract, FieldSpec
from gristmill.datasets.validation import FLOAT16_TINY, FLOAT32_MAX
from gristmill.records.columns import vector_column
from gristmill.records.validation.texts import Checked, valid_mask

# Squared lengths between these, computed in 32 bits, are far enough from the limits of lengths (1e-18 and 1e18) that
# rounding cannot matter. Anything else is left to the precise way.
_SAFE_SQUARES = (1e-30, 1e30)
# The same for the limits of numbers in halfvec.
_SAFE_HALF = (2 * FLOAT16_TINY, FLOAT16_MAX - 1)


def check_vector(field: FieldSpec, array: pa.Array) -> Checked:
    """Vectors that are data: every number must be finite as a 32-bit float."""
    numbers, valid, good = _numbers(field.dimensions or 0, array)
    good &= np.isfinite(numbers).all(axis=1)
    return _column(numbers, good), valid & ~good


def check_embedding(contract: Contract, array: pa.Array) -> Checked:
    """Vectors to search by: their length must be one that distances can be computed with."""
    numbers, valid, good = _numbers(contract.vector_dimensions or 0, array)
    low, high = _SAFE_SQUARES
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", numbers, numbers)
    # A number that is not finite makes a square that is not, so that this comparison finds those too.
    good &= squares < high
    if contract.embedding is not None and contract.embedding.metric == "cosine":
        good &= squares > low
    if contract.vector_storage == "halfvec":
        largest = np.abs(numbers).max(axis=1)
        good &= (largest > _SAFE_HALF[0]) & (largest < _SAFE_HALF[1])
    return _column(numbers, good), valid & ~good


def _numbers(size: int, array: pa.Array) -> tuple[npt.NDArray[Any], Any, Any]:
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


def _float32(inner: pa.Array) -> tuple[npt.NDArray[Any], Any]:
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


def _column(numbers: npt.NDArray[Any], good: npt.NDArray[np.bool_]) -> pa.Array:
    if not good.all():
        numbers = np.where(good[:, None], numbers, np.float32(np.nan))
    return vector_column(numbers, numbers.shape[1])
