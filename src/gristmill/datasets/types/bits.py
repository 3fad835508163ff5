"""bits: a fixed number of bits, such as a perceptual hash; and the embedding column whose vectors are bits."""

import struct
from collections.abc import Iterator
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pydantic_core import CoreSchema
from pydantic_core import core_schema as schemas
from sqlalchemy.dialects.postgresql import BIT

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import columns
from gristmill.datasets.types.base import Expression, FieldType, Mistake
from gristmill.datasets.types.binary_copy import fixed_fields

# The graph of a vector index holds no longer ones.
MAX_BITS = 64_000


class PlainBits(BIT):
    """Its values are read as plain text; SQLAlchemy's own class of text equals no text that is not of that class."""

    def result_processor(self, dialect: sa.Dialect, coltype: object) -> Any:
        return None


class Bits(FieldType):
    """Everywhere but in Postgres a value is the text that Postgres prints: a digit 0 or 1 for each bit."""

    name = "bits"
    limits = ("dimensions",)
    operators = ("null",)
    may_be_key = False
    codes = MappingProxyType(
        {
            "string_pattern_mismatch": "not_bits",
            "string_too_short": "wrong_length",
            "string_too_long": "wrong_length",
        }
    )
    # What derive makes is text.
    takes = ("text",)
    accepted_types = "string of digits 0 and 1"
    arrow_type = pa.string()

    def check(self, field: FieldSpec) -> Iterator[Mistake]:
        given = field.dimensions
        if given is None:
            yield "dimensions", "missing", "dimensions is missing: the number of bits"
        elif given < 1:
            yield "dimensions", "out_of_range", f"{given} is not from 1 to {MAX_BITS}"
        elif given > MAX_BITS:
            yield "dimensions", "not_supported", f"{shorten(given)}: more than {MAX_BITS} bits are not supported"

    def describe(self, field: FieldSpec) -> str:
        return f"a string of {field.dimensions} digits, each 0 or 1"

    def schema(self, field: FieldSpec) -> CoreSchema:
        size = field.dimensions
        return schemas.str_schema(strict=True, pattern=r"^[01]*$", min_length=size, max_length=size)

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        return columns.is_text(kind)

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        size, valid = field.dimensions or 0, columns.valid_mask(array)
        fits = valid & (pc.binary_length(array).fill_null(0).to_numpy() == size)
        digits = columns.content(array.filter(pa.array(fits))).reshape(-1, size)
        good = fits.copy()
        good[fits] = ((digits == ord("0")) | (digits == ord("1"))).all(axis=1)
        return columns.keep_only(array, good), valid & ~good

    def copy_fields(self, array: pa.Array) -> list[pa.Array]:
        """Return what bit_send writes: int32 bits, then eight of them in each byte, the first one the highest."""
        there = array.drop_null()
        size = 0 if not len(there) else len(there[0].as_buffer())
        width = -(-size // 8)
        values = np.zeros((len(array), 4 + width), np.uint8)
        values[:, :4] = np.frombuffer(struct.pack("!i", size), np.uint8)
        digits = columns.content(there).reshape(len(there), size)
        values[columns.valid_mask(array), 4:] = np.packbits(digits == ord("1"), axis=1)
        return fixed_fields(array, values)

    def column(self, field: FieldSpec) -> sa.types.TypeEngine[Any]:
        return PlainBits(field.dimensions)

    def staging(self, field: FieldSpec) -> str:
        return f"bit({field.dimensions})"

    def text_bytes(self, field: FieldSpec, column: Expression) -> int | Expression:
        return field.dimensions or 0


TYPE = Bits()
