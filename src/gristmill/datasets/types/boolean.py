"""boolean: true or false."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pydantic_core import CoreSchema
from pydantic_core import core_schema as schemas

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.types import columns
from gristmill.datasets.types.base import Expression, FieldType
from gristmill.datasets.types.binary_copy import big_endian, fixed_fields


class Boolean(FieldType):
    name = "boolean"
    operators = ("eq", "ne", "in", "null")
    accepted_types = "bool"
    arrow_type = pa.bool_()
    sql_type = sa.Boolean()
    staging_type = "boolean"

    def describe(self, field: FieldSpec) -> str:
        return "true or false"

    def schema(self, field: FieldSpec) -> CoreSchema:
        return schemas.bool_schema(strict=True)

    def from_text(self, field: FieldSpec, text: str) -> Any:
        return {"true": True, "false": False}.get(text, text)

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        return bool(pa.types.is_boolean(kind))

    def read_cells(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        true = pc.equal(array, "true")
        good = columns.to_mask(true) | columns.to_mask(pc.equal(array, "false"))
        return true, columns.valid_mask(array) & ~good

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        return array, columns.no_mask(array)

    def copy_fields(self, array: pa.Array) -> list[pa.Array]:
        return fixed_fields(array, big_endian(columns.values_of(array.cast(pa.uint8()), np.uint8), "u1"))

    def csv_cell(self, column: Expression) -> Expression:
        # COPY would write t and f.
        return sa.cast(column, sa.Text)


TYPE = Boolean()
