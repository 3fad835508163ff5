"""What a field takes beyond the limits of its type: the values of its ``enum``, and its ``default``."""

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator
from pydantic_core import core_schema as schemas

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types.columns import Mask, to_mask, valid_mask

if TYPE_CHECKING:
    from gristmill.datasets.types.base import FieldType

# How many values of an enum a message lists.
_LISTED = 10


def value_schema(kind: "FieldType", field: FieldSpec) -> CoreSchema:
    """Return the core schema of one value of ``field``, without null: that of its type, and its enum."""
    schema = kind.schema(field)
    if field.enum is None:
        return schema
    allowed = frozenset(enum_values(kind, field))

    def check(value: Any) -> Any:
        if value not in allowed:
            raise PydanticCustomError("not_in_enum", "is none of the values that are allowed")
        return value

    return schemas.no_info_after_validator_function(check, schema)


@lru_cache(maxsize=4096)
def validator(kind: "FieldType", field: FieldSpec) -> SchemaValidator:
    """Return the validator of one value of ``field``, without null."""
    return SchemaValidator(value_schema(kind, field))


@lru_cache(maxsize=1024)
def enum_values(kind: "FieldType", field: FieldSpec) -> tuple[Any, ...]:
    """Return the canonical values of the field's enum, which it must have; they can be hashed."""
    plain = field.without_bounds()
    return tuple(kind.parse(plain, value) for value in field.enum or ())


def default_value(kind: "FieldType", field: FieldSpec) -> Any:
    """Return the canonical value of the field where a record does not name it; None without a default."""
    return None if field.default is None else kind.parse(field, field.default)


def default_column(kind: "FieldType", field: FieldSpec, rows: int) -> pa.Array:
    """Return the payload column of ``rows`` records that do not name the field."""
    if field.default is None:
        return pa.nulls(rows, kind.arrow(field))
    return pa.repeat(kind.to_column(field, [default_value(kind, field)])[0], rows)


def not_in_enum(kind: "FieldType", field: FieldSpec, column: pa.Array) -> Mask:
    """Return which values of a payload column are perhaps not in the field's enum: equal ones may differ in form."""
    allowed = kind.to_column(field, enum_values(kind, field))
    return valid_mask(column) & ~to_mask(pc.is_in(column, value_set=allowed))


def expected(kind: "FieldType", field: FieldSpec) -> str:
    """Return a phrase that says what the field takes."""
    if field.enum is None:
        return kind.describe(field)
    shown = ", ".join(shorten(value) for value in field.enum[:_LISTED])
    return f"one of: {shown}" + (f", … ({len(field.enum)} values)" if len(field.enum) > _LISTED else "")
