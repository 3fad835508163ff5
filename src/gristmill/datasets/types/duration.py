"""duration: an exact length of time in microseconds, written as ISO 8601 has it, without years and months.

Those have no fixed length. Postgres' interval keeps them apart and holds a month equal to 30 days, so it is a bigint.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core import core_schema as schemas

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.types import columns
from gristmill.datasets.types.base import Expression, FieldType
from gristmill.datasets.types.binary_copy import big_endian, fixed_fields

_INT64 = (-(2**63), 2**63 - 1)
_SECOND = 1_000_000
_MINUTE, _HOUR, _DAY = 60 * _SECOND, 3600 * _SECOND, 86_400 * _SECOND
_UNITS = {"w": 7 * _DAY, "d": _DAY, "h": _HOUR, "m": _MINUTE, "s": _SECOND}
_PER_SECOND = {"s": 1, "ms": 1_000, "us": _SECOND, "ns": 1_000_000_000}
_PATTERN = (
    r"(?P<sign>[+-]?)P(?:(?P<w>[0-9]{%s})W)?(?:(?P<d>[0-9]{%s})D)?"
    r"(?P<t>T?)(?:(?P<h>[0-9]{%s})H)?(?:(?P<m>[0-9]{%s})M)?(?:(?P<s>[0-9]{%s})(?:\.(?P<f>[0-9]{1,6}))?S)?"
)
_TEXT = re.compile(_PATTERN % (("1,30",) * 5))
# Texts that are read by the column: with so few digits the sum of all parts always fits 64 bits.
_SHORT = f"^{_PATTERN % ('1,6', '1,7', '1,8', '1,10', '1,11')}$"


class Duration(FieldType):
    name = "duration"
    limited_as = "duration"
    bounded = True
    accepted_types = "duration, or string"
    arrow_type = pa.duration("us")
    sql_type = sa.BigInteger()
    staging_type = "bigint"

    def describe(self, field: FieldSpec) -> str:
        units = "weeks, days, hours, minutes and seconds, to the microsecond"
        return f"an ISO 8601 duration{columns.bounds_phrase(field)} in {units}, such as P1DT2H3M4.5S"

    def schema(self, field: FieldSpec) -> CoreSchema:
        low, high = self.bound(field, field.minimum), self.bound(field, field.maximum)

        def check(text: str) -> int:
            value = _read(text)
            if not _INT64[0] <= value <= _INT64[1]:
                raise PydanticCustomError("out_of_range", "is longer than 2^63-1 microseconds, 106,751,991 days")
            if (low is not None and value < low) or (high is not None and value > high):
                rule = f"is outside {field.minimum or '…'} to {field.maximum or '…'}"
                raise PydanticCustomError("out_of_range", rule)
            return value

        return schemas.no_info_after_validator_function(check, schemas.str_schema(strict=True))

    def show(self, value: Any) -> Any:
        return _text(value, _SECOND)

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        return bool(pa.types.is_duration(kind)) or columns.is_text(kind)

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        """Take durations of any unit (whole microseconds), and texts."""
        valid = columns.valid_mask(array)
        values, good = _read_texts(array) if pa.types.is_string(array.type) else _microseconds(array)
        good = valid & good & columns.within(values, self.bound(field, field.minimum), self.bound(field, field.maximum))
        return columns.from_buffer(self.arrow_type, values, good), valid & ~good

    def from_scalar(self, scalar: pa.Scalar) -> Any:
        kind = scalar.type
        return _text(scalar.value, _PER_SECOND[kind.unit]) if pa.types.is_duration(kind) else scalar.as_py()

    def to_column(self, field: FieldSpec, values: Sequence[Any]) -> pa.Array:
        return pa.array(values, pa.int64()).cast(self.arrow_type)

    def key_values(self, column: pa.ChunkedArray) -> list[Any]:
        return column.cast(pa.int64()).to_pylist()  # type: ignore[no-any-return]

    def parameters(self, column: pa.ChunkedArray) -> list[Any]:
        return self.key_values(column)

    def copy_fields(self, array: pa.Array) -> list[pa.Array]:
        return fixed_fields(array, big_endian(columns.values_of(array, np.int64), ">i8"))

    def csv_cell(self, column: Expression) -> Expression:
        """Write in SQL what ``show`` writes."""
        # The remainder has the sign of the number, whose absolute value may not fit 64 bits.
        rest = sa.func.abs(column % _DAY, type_=sa.BigInteger)
        parts = (
            (sa.func.abs(column // _DAY), "D"),
            (rest // _HOUR, "H"),
            (rest // _MINUTE % 60, "M"),
            (sa.func.trim_scale(sa.cast(rest % _MINUTE, sa.Numeric) / _SECOND), "S"),
        )
        days, *times = (sa.case((number > 0, sa.func.concat(number, unit)), else_="") for number, unit in parts)
        sign = sa.case((column < 0, "-"), else_="")
        text = sa.func.concat(sign, "P", days, sa.case((rest > 0, "T"), else_=""), *times)
        return sa.case((column.is_(None), None), (column == 0, "PT0S"), else_=text)

    def json_member(self, column: Expression) -> Expression:
        return self.csv_cell(column)

    def arrow_cell(self, column: Expression) -> Expression:
        return column

    def read_type(self, field: FieldSpec) -> pa.DataType:
        return pa.int64()

    def finish(self, field: FieldSpec, column: pa.ChunkedArray) -> Any:
        return column.cast(self.arrow_type)


def _read(text: str) -> int:
    """Return the microseconds that ``text`` says."""
    found = _TEXT.fullmatch(text)
    # There is at least one number, and one after a T.
    if found is None or text.endswith("P") or any(map(found.group, "hms")) != bool(found["t"]):
        raise PydanticCustomError("not_a_duration", "is not a duration such as P1DT2H3M4.5S or PT0S")
    value = sum(int(found[name] or 0) * size for name, size in _UNITS.items())
    value += int((found["f"] or "").ljust(6, "0"))
    return -value if found["sign"] == "-" else value


def _text(value: int, per_second: int) -> str:
    """Return the canonical text: no weeks, no part that is zero, each part less than the next larger one."""
    seconds, fraction = divmod(abs(value), per_second)
    days, seconds = divmod(seconds, 86_400)
    hours, minutes, seconds = seconds // 3600, seconds // 60 % 60, seconds % 60
    digits = f"{fraction:0{len(str(per_second)) - 1}}".rstrip("0") if fraction else ""
    last = f"{seconds}.{digits}S" if digits else f"{seconds}S" if seconds else ""
    time = (f"{hours}H" if hours else "") + (f"{minutes}M" if minutes else "") + last
    text = "P" + (f"{days}D" if days else "") + (f"T{time}" if time else "")
    return "PT0S" if text == "P" else f"-{text}" if value < 0 else text


def _read_texts(array: pa.Array) -> tuple[npt.NDArray[np.int64], columns.Mask]:
    """Return the microseconds of texts, and for which of them that is certain."""
    parts = pc.extract_regex(array, _SHORT)
    good = parts.is_valid().to_numpy(zero_copy_only=False)
    # What does not match is made zero; so is a part that is not there.
    found = {name: pc.fill_null(pc.struct_field(parts, name), "") for name in ("sign", "t", "f", *_UNITS)}
    there = {name: columns.to_mask(pc.not_equal(found[name], "")) for name in ("t", *_UNITS)}
    timed = there["h"] | there["m"] | there["s"]
    good &= (timed == there["t"]) & (timed | there["w"] | there["d"])
    values = pc.utf8_rpad(found["f"], 6, "0").cast(pa.int64()).to_numpy().copy()
    for name, size in _UNITS.items():
        values += pc.utf8_lpad(found[name], 1, "0").cast(pa.int64()).to_numpy() * size
    return np.where(columns.to_mask(pc.equal(found["sign"], "-")), -values, values), good


def _microseconds(array: pa.Array) -> tuple[npt.NDArray[np.int64], columns.Mask]:
    """Return the values of a duration column in microseconds, and which of them that loses nothing of."""
    raw, per_second = columns.values_of(array, np.int64), _PER_SECOND[array.type.unit]
    if per_second > _SECOND:
        return raw // 1000, raw % 1000 == 0
    factor = _SECOND // per_second
    good = (raw >= -(_INT64[1] // factor)) & (raw <= _INT64[1] // factor)
    if factor == 1:
        return raw, np.ones(len(raw), np.bool_)
    return np.where(good, raw, 0) * factor, good


TYPE = Duration()
