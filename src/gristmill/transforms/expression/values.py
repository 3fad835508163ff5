"""What operators and functions share: rows one by one, texts that are joined, moments that there are."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.transforms.expression.tree import ARROW, NoValue, TooMany

# Most bytes of a text that an expression makes.
MAX_TEXT_BYTES = 1024 * 1024
# Most bytes of all texts that one function makes at a time.
MAX_TEXTS_BYTES = 32 * 1024 * 1024
# Days and microseconds of the years 1 to 9999.
_DAYS = (-719_162, 2_932_896)
_MICROSECONDS = (_DAYS[0] * 86_400_000_000, (_DAYS[1] + 1) * 86_400_000_000 - 1)


def each(function: Callable[..., Any], arrays: Sequence[pa.Array], type_: str) -> pa.Array:
    """Return what ``function`` makes of the values of each row, as Arrow takes it; null where one of them is null."""
    columns = [array.to_pylist() for array in arrays]
    found = [None if None in values else function(*values) for values in zip(*columns, strict=True)]
    if type_ == "duration":
        # By numbers of microseconds: Arrow makes none of the longest of Python's.
        return pa.array(found, pa.int64()).cast(ARROW[type_])
    return pa.array(found, ARROW[type_])


def join_texts(arrays: Sequence[pa.Array]) -> pa.Array:
    """Return texts one after the other, null where one of them is null."""
    sizes = pc.binary_length(arrays[0])
    for array in arrays[1:]:
        sizes = pc.add(sizes, pc.binary_length(array))
    check_sizes(sizes)
    return pc.binary_join_element_wise(*arrays, "")


def check_sizes(sizes: pa.Array) -> None:
    """Raise NoValue where a text would have too many bytes, TooMany where all have: ask before they are made."""
    if (pc.max(sizes).as_py() or 0) > MAX_TEXT_BYTES:
        raise NoValue("too_large", f"a text would have more than {MAX_TEXT_BYTES} bytes")
    if (pc.sum(sizes).as_py() or 0) > MAX_TEXTS_BYTES:
        raise TooMany


def check_moments(numbers: pa.Array, days: bool) -> None:
    """Raise NoValue where a number of days, or of microseconds, since 1970 is outside the years 1 to 9999."""
    low, high = _DAYS if days else _MICROSECONDS
    found = pc.min_max(numbers).as_py()
    if found["min"] is not None and not (low <= found["min"] and found["max"] <= high):
        raise NoValue("out_of_range", "the result is outside the years 1 to 9999")
