"""integer: 64 bits with a sign."""

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pydantic_core import CoreSchema
from pydantic_core import core_schema as schemas

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.types import columns
from gristmill.datasets.types.base import NUMBER, FieldType
from gristmill.datasets.types.binary_copy import big_endian, fixed_fields

INT64 = (-(2**63), 2**63 - 1)
# A leading zero is refused rather than lost, as it may be part of a code that is no number.
_TEXT = re.compile(r"[+-]?(0|[1-9][0-9]{0,29})")
# 18 digits always fit 64 bits.
_CELL = r"^-?(0|[1-9][0-9]{0,17})$"


class Integer(FieldType):
    name = "integer"
    limited_as = NUMBER
    cell_is_number = True
    exact = "{}::numeric"
    bounded = True
    becomes = ("decimal",)
    accepted_types = "int8 to int64 or uint8 to uint64"
    arrow_type = pa.int64()
    sql_type = sa.BigInteger()
    staging_type = "bigint"

    def describe(self, field: FieldSpec) -> str:
        return f"an integer{columns.bounds_phrase(field) or ' from -2^63 to 2^63-1'}"

    def schema(self, field: FieldSpec) -> CoreSchema:
        low = INT64[0] if field.minimum is None else field.minimum
        return schemas.int_schema(strict=True, ge=low, le=INT64[1] if field.maximum is None else field.maximum)

    def from_text(self, field: FieldSpec, text: str) -> Any:
        return int(text) if _TEXT.fullmatch(text) else text

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        return bool(pa.types.is_integer(kind))

    def read_cells(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        return columns.match_cells(array, _CELL, pa.int64())

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        bad = columns.no_mask(array)
        if pa.types.is_uint64(array.type):
            bad |= columns.to_mask(pc.greater(array, pa.scalar(INT64[1], pa.uint64())))
        array = array.cast(pa.int64(), safe=False)
        good = columns.within(columns.values_of(array, np.int64), field.minimum, field.maximum)
        return array, bad | (columns.valid_mask(array) & ~good)

    def copy_fields(self, array: pa.Array) -> list[pa.Array]:
        return fixed_fields(array, big_endian(columns.values_of(array, np.int64), ">i8"))


TYPE = Integer()
