"""vector: a fixed number of 32-bit floats; and the embedding column, whose vectors must be fit for distances."""

import binascii
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from pgvector.sqlalchemy import HALFVEC, VECTOR
from pydantic_core import CoreSchema, PydanticCustomError, from_json
from pydantic_core import core_schema as schemas
from sqlalchemy.dialects.postgresql import JSON

from gristmill.datasets.contract import EmbeddingColumn, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import columns
from gristmill.datasets.types.base import Expression, FieldType, Mistake
from gristmill.datasets.types.binary_copy import framed_fields
from gristmill.datasets.types.json import read_json_cell
from gristmill.datasets.types.matrices import FLOAT32_MAX, Numbers, halved, read_matrix, vector_column

# The graph of a vector index holds no longer ones, by how their numbers are stored.
MAX_DIMENSIONS = 2000
MAX_HALF_DIMENSIONS = 4000
# The largest number that halfvec holds, and the smallest above zero.
_FLOAT16_MAX, _FLOAT16_TINY = 65504.0, 2.0**-24
# Squares of float32 numbers outside this range overflow or vanish, and the distance becomes infinite or NaN.
_LENGTHS = (1e-18, 1e18)
# Squared lengths between these, computed in 32 bits, are far enough from the limits of lengths that rounding cannot
# matter; the same for the largest number of a halfvec. Anything else is left to single validation.
_SAFE_SQUARES = (1e-30, 1e30)
_SAFE_HALF = (2 * _FLOAT16_TINY, _FLOAT16_MAX - 1)


class Vector(FieldType):
    name = "vector"
    limits = ("dimensions",)
    operators = ("null",)
    may_be_key = False
    cell_is_json = True
    codes = dict.fromkeys(("too_short", "too_long"), "wrong_length")

    def check(self, field: FieldSpec) -> Iterator[Mistake]:
        most, given = (MAX_HALF_DIMENSIONS if _is_half(field) else MAX_DIMENSIONS), field.dimensions
        if given is None:
            yield "dimensions", "missing", "dimensions is missing: the length of the vectors"
        elif given < 1:
            yield "dimensions", "out_of_range", f"{given} is not from 1 to {most}"
        elif given > most:
            reason = f"{shorten(given)}: more than {most} dimensions are not supported"
            if isinstance(field, EmbeddingColumn) and given <= MAX_HALF_DIMENSIONS:
                reason += f' with this storage; "storage": "halfvec" takes up to {MAX_HALF_DIMENSIONS}'
            yield "dimensions", "not_supported", reason

    def describe(self, field: FieldSpec) -> str:
        return f"a list of {field.dimensions} finite numbers that fit 32-bit floats"

    def part(self, error: Mapping[str, Any]) -> tuple[str, str] | None:
        location = error.get("loc", ())
        if not location or not isinstance(location[-1], int):
            return None
        expected = "a finite number that fits a 32-bit float"
        if error.get("ctx", {}).keys() & {"ge", "le"} and max(map(abs, error["ctx"].values())) == _FLOAT16_MAX:
            expected = "a number from -65504 to 65504, which halfvec holds"
        return f"number {location[-1]} of the list", expected

    def schema(self, field: FieldSpec) -> CoreSchema:
        most = _FLOAT16_MAX if _is_half(field) else FLOAT32_MAX
        number = schemas.float_schema(strict=True, allow_inf_nan=False, ge=-most, le=most)
        length = field.dimensions
        plain = schemas.list_schema(number, strict=True, min_length=length, max_length=length)
        if not isinstance(field, EmbeddingColumn):
            return plain
        return schemas.no_info_after_validator_function(_check_length(field), plain)

    def from_text(self, field: FieldSpec, text: str) -> Any:
        return read_json_cell(text)

    def show(self, value: Any) -> Any:
        if isinstance(value, str):
            # The driver's text: Postgres prints each number with as few digits as name it.
            return [float(number) for number in from_json(value)]
        # A float32 is printed with as few digits as name it: 0.1 and not 0.10000000149011612.
        numbers = value.to_numpy() if hasattr(value, "to_numpy") else np.asarray(value)
        return [float(text) for text in numbers.astype(np.float32).astype("U")]

    def accepted(self, field: FieldSpec) -> str:
        rule = "list or fixed_size_list of double, float, halffloat or integers"
        return f"{rule}, of {field.dimensions} numbers each"

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        fixed = pa.types.is_fixed_size_list(kind) and kind.list_size == field.dimensions
        varies = pa.types.is_list(kind) or pa.types.is_large_list(kind)
        return bool(fixed or varies) and columns.is_number(kind.value_type)

    def read_cells(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        # An array in a cell is JSON, and JSON has its own parser.
        return pa.nulls(len(array), self.arrow(field)), columns.valid_mask(array)

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        numbers, valid, good = read_matrix(field.dimensions or 0, array)
        if isinstance(field, EmbeddingColumn):
            good &= _is_comparable(field, numbers)
        else:
            good &= np.isfinite(numbers).all(axis=1)
        if not good.all():
            numbers = np.where(good[:, None], numbers, np.float32(np.nan))
        return vector_column(numbers, numbers.shape[1]), valid & ~good

    def arrow(self, field: FieldSpec) -> pa.DataType:
        return pa.list_(pa.float32(), field.dimensions or -1)

    def to_column(self, field: FieldSpec, values: Sequence[Any]) -> pa.Array:
        return vector_column(values, field.dimensions or 0)

    def stored_type(self, field: FieldSpec) -> pa.DataType:
        return pa.list_(pa.float16() if _is_half(field) else pa.float32(), field.dimensions or -1)

    def as_stored(self, field: FieldSpec, column: pa.ChunkedArray) -> pa.ChunkedArray:
        if not _is_half(field) or pa.types.is_float16(column.type.value_type):
            return column
        return pa.chunked_array([halved(chunk) for chunk in column.chunks], self.stored_type(field))

    def parameter(self, value: Any) -> Any:
        """Return pgvector's text form; 9 digits name every float32 exactly."""
        return "[" + ",".join(["%.9g"] * len(value)) % tuple(value) + "]"

    def parameters(self, column: pa.ChunkedArray) -> list[Any]:
        return [None if vector is None else self.parameter(vector) for vector in column.to_pylist()]

    def copy_fields(self, array: pa.Array) -> list[pa.Array]:
        """Return pgvector's binary form: int16 dimensions, int16 zero, big-endian float4s, or float2s for halfvec."""
        size, rows = array.type.list_size, len(array)
        width = 2 if pa.types.is_float16(array.type.value_type) else 4
        numbers = array.values.slice(array.offset * size, rows * size).to_numpy(zero_copy_only=False)
        out = np.empty((rows, 8 + width * size), np.uint8)
        out[:, :8] = np.frombuffer(struct.pack("!ihh", 4 + width * size, size, 0), np.uint8)
        # Swapped as they are copied: vectors are most of what most datasets have, and every further copy of them shows.
        out[:, 8:].view(f">f{width}")[...] = numbers.reshape(rows, size)
        return framed_fields(array, out)

    def column(self, field: FieldSpec) -> sa.types.TypeEngine[Any]:
        return HALFVEC(field.dimensions) if _is_half(field) else VECTOR(field.dimensions)

    def staging(self, field: FieldSpec) -> str:
        return "halfvec" if _is_half(field) else "vector"

    def plain_bytes(self, field: FieldSpec) -> int | None:
        return 8 + (2 if _is_half(field) else 4) * (field.dimensions or 0)

    def csv_cell(self, column: Expression) -> Expression:
        # The list is JSON in CSV too, and JSON has no integer -0. Exponents have two digits at least, and none is -00.
        return sa.func.replace(sa.func.replace(sa.cast(column, sa.Text), "-0,", "-0.0,"), "-0]", "-0.0]")

    def json_member(self, column: Expression) -> Expression:
        return sa.cast(self.csv_cell(column), JSON)

    def arrow_cell(self, column: Expression) -> Expression:
        # vector_send is what binary COPY writes: int16 dimensions, int16 zero, big-endian float4s.
        return sa.func.encode(sa.func.vector_send(sa.cast(column, _AnyVector())), "hex")

    def text_bytes(self, field: FieldSpec, column: Expression) -> int | Expression:
        return 12 * (field.dimensions or 0)

    def read_type(self, field: FieldSpec) -> pa.DataType:
        return pa.string()

    def finish(self, field: FieldSpec, column: pa.ChunkedArray) -> Any:
        dimensions = field.dimensions or 0
        texts = pa.concat_arrays(column.chunks)
        null = np.asarray(texts.is_null())
        offsets = np.frombuffer(texts.buffers()[1], np.int32)[texts.offset : texts.offset + len(texts) + 1]
        numbers = np.full((len(texts), dimensions), np.nan, np.float32)
        if not null.all():
            data = binascii.unhexlify(memoryview(texts.buffers()[2])[offsets[0] : offsets[-1]])
            sent = np.frombuffer(data, np.uint8).reshape(-1, 4 + 4 * dimensions)[:, 4:]
            numbers[~null] = np.ascontiguousarray(sent).view(">f4").astype(np.float32)
        return vector_column(numbers, dimensions)


class _AnyVector(sa.types.UserDefinedType[Any]):
    """pgvector's vector without dimensions: the cast widens halfvec and does nothing to vector."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "vector"


def _is_half(field: FieldSpec) -> bool:
    """Say whether the vectors are stored as 16-bit floats."""
    return isinstance(field, EmbeddingColumn) and field.storage == "halfvec"


def _check_length(column: EmbeddingColumn) -> Any:
    """Return the check that distances can be computed with a vector, also once it is stored."""
    low, high = _LENGTHS
    needs_direction = column.metric == "cosine"
    half = _is_half(column)

    def check(values: list[float]) -> list[float]:
        if half and needs_direction and max(map(abs, values)) < _FLOAT16_TINY:
            raise PydanticCustomError(
                "zero_vector", "is a zero vector once it is stored as halfvec, which has no direction to compare"
            )
        length = math.hypot(*values)
        if length > high:
            raise PydanticCustomError("out_of_range", f"is longer than {high:g}, so distances to it would overflow")
        if needs_direction and length < low:
            raise PydanticCustomError(
                "zero_vector",
                "is a zero vector (or shorter than {low}), which has no direction to compare",
                {"low": f"{low:g}"},
            )
        return values

    return check


def _is_comparable(column: EmbeddingColumn, numbers: Numbers) -> columns.Mask:
    """Return which rows are certain to be vectors that distances can be computed with."""
    low, high = _SAFE_SQUARES
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.einsum("ij,ij->i", numbers, numbers)
    # A number that is not finite makes a square that is not, so that this comparison finds those too.
    good = squares < high
    if column.metric == "cosine":
        good &= squares > low
    if _is_half(column):
        largest = np.abs(numbers).max(axis=1)
        good &= (largest > _SAFE_HALF[0]) & (largest < _SAFE_HALF[1])
    return good  # type: ignore[no-any-return]


TYPE = Vector()
