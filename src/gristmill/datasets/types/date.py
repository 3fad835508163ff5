"""date: a day of the years 1 to 9999."""

import datetime as dt
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from pydantic_core import CoreSchema
from pydantic_core import core_schema as schemas

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.types import calendar, columns
from gristmill.datasets.types.base import FieldType
from gristmill.datasets.types.binary_copy import big_endian, fixed_fields

_POSTGRES_EPOCH = 10_957  # 2000-01-01 in days since 1970


class Date(FieldType):
    name = "date"
    limited_as = "date"
    bounded = True
    is_time = True
    codes = dict.fromkeys(("string_pattern_mismatch", "date_parsing", "date_from_datetime_parsing"), "not_a_date")
    # A day is as old as its end.
    cutoff = "SELECT ((now() - %(keep)s) AT TIME ZONE 'UTC')::date"
    accepted_types = "date32, date64, or string"
    arrow_type = pa.date32()
    sql_type = sa.Date()
    staging_type = "date"

    def describe(self, field: FieldSpec) -> str:
        return f"a date YYYY-MM-DD{columns.bounds_phrase(field, *calendar.BOUNDS)}"

    def schema(self, field: FieldSpec) -> CoreSchema:
        shape = schemas.str_schema(strict=True, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
        return schemas.chain_schema([shape, schemas.date_schema(ge=_day(field.minimum), le=_day(field.maximum))])

    def show(self, value: Any) -> Any:
        return value.isoformat()

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        return bool(pa.types.is_date(kind)) or columns.is_text(kind)

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        """Take dates in days or in milliseconds (of whole days: others are no valid Arrow column), and texts."""
        valid = columns.valid_mask(array)
        good = valid.copy()
        if pa.types.is_string(array.type):
            array, good = calendar.cast_texts(array, f"^{calendar.DATE}$", pa.date32())
        if pa.types.is_date64(array.type):
            days = columns.values_of(array, np.int64) // 86_400_000
        else:
            days = columns.values_of(array, np.int32).astype(np.int64)
        low, high = _day(field.minimum), _day(field.maximum)
        good &= days >= (calendar.FIRST_DAY if low is None else low.toordinal() - calendar.EPOCH)
        good &= days <= (calendar.LAST_DAY if high is None else high.toordinal() - calendar.EPOCH)
        return columns.from_buffer(pa.date32(), np.where(good, days, 0).astype(np.int32), good), valid & ~good

    def from_scalar(self, scalar: pa.Scalar) -> Any:
        if pa.types.is_date64(scalar.type):
            return str(np.datetime64(scalar.value // 86_400_000, "D"))
        return str(np.datetime64(scalar.value, "D")) if pa.types.is_date32(scalar.type) else scalar.as_py()

    def copy_fields(self, array: pa.Array) -> list[pa.Array]:
        days = columns.values_of(array, np.int32).astype(np.int64) - _POSTGRES_EPOCH
        return fixed_fields(array, big_endian(days, ">i4"))


def _day(bound: str | None) -> dt.date | None:
    return None if bound is None else dt.date.fromisoformat(bound)


TYPE = Date()
