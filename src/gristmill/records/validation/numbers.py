"""Columns of numbers and booleans, judged as a whole; see ``vectorised``, and ``vectorised_texts`` for judges."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.datasets.contract import MAX_DIGITS, FieldSpec
from gristmill.datasets.types import TYPES
from gristmill.datasets.validation import INT64
from gristmill.records.validation.texts import Checked, to_mask, valid_mask

# Holds every decimal of a contract: 38 digits on either side of the point.
_ANY_DECIMAL = pa.decimal256(2 * MAX_DIGITS, MAX_DIGITS)


def check_boolean(_field: FieldSpec, array: pa.Array) -> Checked:
    return array, np.zeros(len(array), np.bool_)


def check_integer(field: FieldSpec, array: pa.Array) -> Checked:
    bad = np.zeros(len(array), np.bool_)
    if pa.types.is_uint64(array.type):
        bad |= to_mask(pc.greater(array, pa.scalar(INT64[1], pa.uint64())))
    array = array.cast(pa.int64(), safe=False)
    return array, bad | (valid_mask(array) & ~_within(_values(array, np.int64), field))


def check_float(field: FieldSpec, array: pa.Array) -> Checked:
    """Takes integers too, each as the double nearest to it."""
    array = array.cast(pa.float64(), safe=False)
    values = _values(array, np.float64)
    return array, valid_mask(array) & ~(np.isfinite(values) & _within(values, field))


def check_decimal(field: FieldSpec, array: pa.Array) -> Checked:
    """Takes decimals, integers and texts; judges those whose text is canonical already, and plainly within limits."""
    valid = valid_mask(array)
    texts = _decimal_texts(field, array)
    if texts is None:
        return pa.nulls(len(array), pa.string()), valid
    if field.precision:
        whole, fraction = field.precision - (field.scale or 0), field.scale or 0
    else:
        # Together at most 38; how numbers with more on one side are counted is left to the precise way.
        whole, fraction = MAX_DIGITS // 2, MAX_DIGITS // 2
    before = f"(0|[1-9][0-9]{{0,{whole - 1}}})" if whole else "0"
    after = rf"(\.[0-9]{{1,{fraction}}})?" if fraction else ""
    good = to_mask(pc.match_substring_regex(texts, f"^-?{before}{after}$"))
    good &= ~to_mask(pc.match_substring_regex(texts, r"^-0(\.0+)?$"))
    texts = keep_only(texts, good)
    if field.minimum is not None or field.maximum is not None:
        numbers = texts.cast(_ANY_DECIMAL)
        for bound, compare in ((field.minimum, pc.less), (field.maximum, pc.greater)):
            if bound is not None:
                limit = TYPES["decimal"].parse(field.without_bounds(), bound)
                good &= ~to_mask(compare(numbers, pa.scalar(limit, _ANY_DECIMAL)))
    return texts, valid & ~good


def _decimal_texts(field: FieldSpec, array: pa.Array) -> pa.Array | None:
    """Return the numbers as texts, or None if that would cost digits."""
    if not pa.types.is_decimal(array.type):
        return array.cast(pa.string())
    if field.precision and array.type.scale > (field.scale or 0):
        try:
            # The digits that go are zeros, or the cast fails.
            array = array.cast(pa.decimal256(2 * MAX_DIGITS, field.scale or 0))
        except pa.ArrowInvalid:
            return None
    scale = array.type.scale
    texts = array.cast(pa.string())
    # A zero of many places would be written with an exponent.
    zero = pc.equal(array, pa.scalar(0, array.type)) if scale else None
    return texts if zero is None else pc.if_else(zero, "0." + "0" * scale, texts)


def keep_only(array: pa.Array, good: npt.NDArray[np.bool_]) -> pa.Array:
    """Return ``array`` with null wherever it is not ``good``."""
    return array if good.all() else pc.if_else(pa.array(good), array, pa.scalar(None, array.type))


def _within(values: npt.NDArray[Any], field: FieldSpec) -> npt.NDArray[np.bool_]:
    good = np.ones(len(values), np.bool_)
    if field.minimum is not None:
        good &= values >= field.minimum
    if field.maximum is not None:
        good &= values <= field.maximum
    return good


def _values(array: pa.Array, dtype: Any) -> npt.NDArray[Any]:
    """Return the values of a column of 8-byte numbers; those of nulls may be anything."""
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * 8)
