"""Columns of CSV cells, read as the values that they stand for where that is certain; see ``vectorised``.

A cell that is not plainly a value of its field's type is marked, for the precise way to read it.
"""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.datasets.contract import FieldSpec
from gristmill.records.validation.numbers import keep_only
from gristmill.records.validation.texts import to_mask, valid_mask

# 18 digits always fit 64 bits.
_INTEGER = r"^-?(0|[1-9][0-9]{0,17})$"
# Neither long enough nor with exponents large enough to leave the range of doubles.
_NUMBER = r"^-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?$"


def read_cells(field: FieldSpec, array: pa.Array) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """Return (a column that a judge of the field's type takes, the cells that are left to the precise way)."""
    valid = valid_mask(array)
    match field.type:
        case "integer":
            good = to_mask(pc.match_substring_regex(array, _INTEGER))
            return keep_only(array, good).cast(pa.int64()), valid & ~good
        case "float":
            good = to_mask(pc.match_substring_regex(array, _NUMBER))
            return keep_only(array, good).cast(pa.float64()), valid & ~good
        case "boolean":
            true = pc.equal(array, "true")
            good = to_mask(true) | to_mask(pc.equal(array, "false"))
            return true, valid & ~good
        case "vector":
            # An array in a cell is JSON, and JSON has its own parser.
            return pa.nulls(len(array), pa.list_(pa.float32(), field.dimensions or 0)), valid
        case _:
            return array, np.zeros(len(array), np.bool_)
