"""uuid: 16 bytes, written with hyphens."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import CoreSchema
from pydantic_core import core_schema as schemas
from sqlalchemy.dialects import postgresql

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.types import columns
from gristmill.datasets.types.base import FieldType
from gristmill.datasets.types.binary_copy import fixed_fields

_PATTERN = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
# Places of the hyphens, and of the 32 digits.
_HYPHENS = [8, 13, 18, 23]
_DIGITS = [place for place in range(36) if place not in _HYPHENS]
_NIBBLES = np.full(256, 255, np.uint8)
_NIBBLES[np.frombuffer(b"0123456789abcdef", np.uint8)] = np.arange(16)
_NIBBLES[np.frombuffer(b"ABCDEF", np.uint8)] = np.arange(10, 16)


class Uuid(FieldType):
    name = "uuid"
    codes = dict.fromkeys(("string_pattern_mismatch", "uuid_parsing"), "not_a_uuid")
    extension = "arrow.uuid"
    accepted_types = "fixed_size_binary[16], the extension arrow.uuid, or string"
    arrow_type = pa.binary(16)
    sql_type = postgresql.UUID(as_uuid=True)
    staging_type = "uuid"

    def describe(self, field: FieldSpec) -> str:
        return "a UUID such as 0192f0c2-7d3a-7000-8000-0123456789ab"

    def schema(self, field: FieldSpec) -> CoreSchema:
        # The pattern comes first because the parser also takes URNs, braces and forms without hyphens.
        return schemas.chain_schema([schemas.str_schema(strict=True, pattern=_PATTERN), schemas.uuid_schema()])

    def show(self, value: Any) -> Any:
        return str(value)

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        return bool(kind == pa.binary(16)) or columns.is_text(kind)

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        if pa.types.is_fixed_size_binary(array.type):
            return array, columns.no_mask(array)
        valid = columns.valid_mask(array)
        fits = valid & (pc.binary_length(array).fill_null(0).to_numpy() == 36)
        texts = columns.content(array.filter(pa.array(fits))).reshape(-1, 36)
        nibbles = _NIBBLES[texts[:, _DIGITS]]
        right = (nibbles < 16).all(axis=1) & (texts[:, _HYPHENS] == ord("-")).all(axis=1)
        values = np.zeros((len(array), 16), np.uint8)
        values[fits] = nibbles[:, 0::2] << 4 | nibbles[:, 1::2] & 15
        good = fits.copy()
        good[fits] = right
        return columns.from_buffer(pa.binary(16), values, good), valid & ~good

    def from_scalar(self, scalar: pa.Scalar) -> Any:
        value = scalar.as_py()
        return str(UUID(bytes=value)) if isinstance(value, bytes) else value

    def to_column(self, field: FieldSpec, values: Sequence[Any]) -> pa.Array:
        return pa.array([None if value is None else value.bytes for value in values], pa.binary(16))

    def key_values(self, column: pa.ChunkedArray) -> list[Any]:
        return [None if value is None else UUID(bytes=value) for value in column.to_pylist()]

    def parameter(self, value: Any) -> Any:
        return str(value)

    def parameters(self, column: pa.ChunkedArray) -> list[Any]:
        return [None if value is None else str(UUID(bytes=value)) for value in column.to_pylist()]

    def copy_fields(self, array: pa.Array) -> list[pa.Array]:
        return fixed_fields(array, columns.values_of(array, np.dtype("V16")).view(np.uint8).reshape(-1, 16))

    def export_type(self, field: FieldSpec) -> pa.DataType:
        # As text every tool shows it.
        return pa.string()


TYPE = Uuid()
