"""float: finite numbers of 64 bits (IEEE 754)."""

import re
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pydantic_core import CoreSchema
from pydantic_core import core_schema as schemas
from sqlalchemy.dialects import postgresql

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.types import columns
from gristmill.datasets.types.base import NUMBER, Expression, FieldType
from gristmill.datasets.types.binary_copy import big_endian, fixed_fields

# The rule of numbers in text: a sign, digits, a point that may come first or last; a leading zero is refused.
_TEXT = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?")
# Neither long enough nor with exponents large enough to leave the range of doubles.
_CELL = r"^-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,40})?([eE][+-]?[0-9]{1,2})?$"


class Float(FieldType):
    name = "float"
    limited_as = NUMBER
    cell_is_number = True
    exact = "{}::text::numeric"
    bounded = True
    takes = ("integer",)
    # Equality of floating-point numbers is no identity that users could rely on.
    may_be_key = False
    accepted_types = "double, float, halffloat or an integer type"
    arrow_type = pa.float64()
    sql_type = postgresql.DOUBLE_PRECISION()
    staging_type = "double precision"

    def describe(self, field: FieldSpec) -> str:
        return f"a finite number{columns.bounds_phrase(field)}"

    def schema(self, field: FieldSpec) -> CoreSchema:
        return schemas.float_schema(strict=True, allow_inf_nan=False, ge=field.minimum, le=field.maximum)

    def from_text(self, field: FieldSpec, text: str) -> Any:
        return float(text) if len(text) <= 1000 and _TEXT.fullmatch(text) else text

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        return columns.is_number(kind)

    def read_cells(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        return columns.match_cells(array, _CELL, pa.float64())

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        """Take integers too, each as the double nearest to it."""
        array = array.cast(pa.float64(), safe=False)
        values = columns.values_of(array, np.float64)
        good = np.isfinite(values) & columns.within(values, field.minimum, field.maximum)
        return array, columns.valid_mask(array) & ~good

    def to_compare(self, column: Any) -> Any:
        # Negative zero is zero.
        return pc.add(column, 0.0)

    def parameter(self, value: Any) -> Any:
        # As a number it would be read as a numeric, which has no negative zero.
        return repr(value)

    def parameters(self, column: pa.ChunkedArray) -> list[Any]:
        return [None if value is None else repr(value) for value in column.to_pylist()]

    def copy_fields(self, array: pa.Array) -> list[pa.Array]:
        return fixed_fields(array, big_endian(columns.values_of(array, np.float64), ">f8"))

    def json_member(self, column: Expression) -> Expression:
        # The number -0 is an integer in JSON, which has no negative zero.
        negative_zero = sa.and_(column == 0, sa.cast(column, sa.Text) == "-0")
        return sa.case(
            (negative_zero, sa.cast(sa.literal("-0.0", sa.Text), postgresql.JSON)), else_=sa.func.to_json(column)
        )


TYPE = Float()
