"""The two-way type map: how each contract type is validated, carried (Arrow), stored (Postgres), read and shown.

``docs/types.md`` is this table for people; a test holds the two together.
"""

import base64
import datetime as dt
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from pgvector.sqlalchemy import VECTOR
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, SchemaValidator, from_json
from sqlalchemy.dialects import postgresql

from gristmill.datasets import describe, validation
from gristmill.datasets.contract import FieldSpec, VectorStorage

# As in JSON: a leading zero is refused rather than lost, as it may be part of a code that is no number.
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,29})")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class _Exact:
    """Carries a finished core schema through a pydantic annotation."""

    def __init__(self, schema: CoreSchema) -> None:
        self.schema = schema

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return self.schema


@dataclass(frozen=True)
class TypeSpec:
    """Everything there is to know about one contract type. All members but ``name`` and ``cast`` take the field.

    arrow: type of the column in a payload. column: SQLAlchemy type of the stored column.
    staging: SQL type of the column that COPY fills; ``cast`` (such as "::jsonb") turns it into the stored one, or None.
    schema: pydantic core schema, for JSON text and for the Python objects of JSON, without null.
    comparable: may be a key field, ordered by, filterable. bounded: takes minimum and maximum.
    """

    name: str
    arrow: Callable[[FieldSpec], pa.DataType]
    column: Callable[[FieldSpec], sa.types.TypeEngine[Any]]
    staging: Callable[[FieldSpec], str]
    schema: Callable[[FieldSpec], CoreSchema]
    read_text: Callable[[str], Any]
    show: Callable[[Any], Any]
    cast: str | None = None
    comparable: bool = True
    bounded: bool = False

    def annotation(self, field: FieldSpec) -> Any:
        """Return a pydantic annotation that validates strictly, in JSON and Python mode, to the canonical value."""
        return Annotated[Any, _Exact(self.schema(field))]

    def from_text(self, field: FieldSpec, text: str) -> Any:
        """Return the JSON-like value that the CSV cell ``text`` stands for, still to be validated.

        A cell that is no value of the type is returned as it is, so that the validator refuses and shows it.
        Raises ValueError when the cell should hold JSON (types json and vector) and does not.
        """
        return self.read_text(text)

    def parse(self, field: FieldSpec, value: Any) -> Any:
        """Return the canonical Python value of the JSON-like ``value``. Raises pydantic_core.ValidationError."""
        return _validator(field).validate_python(value)

    def to_json(self, value: Any) -> Any:
        """Return the canonical ``value`` (as validated, or as read from Postgres) as JSON has it; None stays None."""
        return None if value is None else self.show(value)

    def describe(self, field: FieldSpec) -> str:
        """Return a phrase for messages: what a valid value is, such as "an integer from 0 to 10"."""
        return describe.describe(field)


@lru_cache(maxsize=4096)
def _validator(field: FieldSpec) -> SchemaValidator:
    return SchemaValidator(TYPES[field.type].schema(field))


def embedding_annotation(dimensions: int, metric: str, storage: VectorStorage = "vector") -> Any:
    """Return the annotation of vectors that clients supply as ``_embedding``: like vector, and fit for distances."""
    return Annotated[Any, _Exact(validation.embedding_schema(dimensions, metric, storage))]


def dump_json(value: Any) -> str:
    """Return the JSON text of a value of type json: compact, and such that jsonb gives the same numbers back.

    jsonb keeps numbers as decimals and forgets exponents: 1e23 would come back as an integer that is not the double
    1e23. Written out with ".0" it comes back as the double it was.
    """
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    if "e+" not in text:
        return text
    return "".join(_LargeFloats(ensure_ascii=False, separators=(",", ":")).iterencode(value))


class _LargeFloats(json.JSONEncoder):
    def iterencode(self, o: Any, _one_shot: bool = False) -> Any:
        if isinstance(o, dict):
            members = (f"{self.encode(key)}:{''.join(self.iterencode(item))}" for key, item in o.items())
            yield "{" + ",".join(members) + "}"
        elif isinstance(o, list):
            yield "[" + ",".join("".join(self.iterencode(item)) for item in o) + "]"
        elif isinstance(o, float) and abs(o) >= 1e16:
            yield f"{o:.1f}"
        else:
            yield json.dumps(o, ensure_ascii=False)


def _read_integer(text: str) -> Any:
    return int(text) if _INTEGER.fullmatch(text) else text


def _read_float(text: str) -> Any:
    return float(text) if len(text) <= 1000 and _NUMBER.fullmatch(text) else text


def _read_boolean(text: str) -> Any:
    return {"true": True, "false": False}.get(text, text)


def _read_json(text: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"the cell is not JSON: {error}") from error


def _show_timestamp(value: dt.datetime) -> str:
    return value.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")


def _show_vector(value: Any) -> list[float]:
    # A float32 is printed with as few digits as name it: 0.1 and not 0.10000000149011612.
    numbers = value.to_numpy() if hasattr(value, "to_numpy") else np.asarray(value)
    return [float(text) for text in numbers.astype(np.float32).astype("U")]


def _show_image(value: Any) -> str:
    return base64.b64encode(bytes(value)).decode()


def _same(value: Any) -> Any:
    return value


def _always(value: Any) -> Callable[[FieldSpec], Any]:
    return lambda _field: value


def _numeric(field: FieldSpec) -> sa.Numeric[Any]:
    return sa.Numeric(field.precision, field.scale or 0) if field.precision else sa.Numeric()


TYPES: dict[str, TypeSpec] = {
    spec.name: spec
    for spec in (
        TypeSpec(
            "text",
            arrow=_always(pa.string()),
            # Byte order: the same on every machine and version, and an index on it serves prefixes.
            column=_always(sa.Text(collation="C")),
            staging=_always("text"),
            schema=validation.text_schema,
            read_text=_same,
            show=_same,
        ),
        TypeSpec(
            "integer",
            arrow=_always(pa.int64()),
            column=_always(sa.BigInteger()),
            staging=_always("bigint"),
            schema=validation.integer_schema,
            read_text=_read_integer,
            show=_same,
            bounded=True,
        ),
        TypeSpec(
            "float",
            arrow=_always(pa.float64()),
            column=_always(postgresql.DOUBLE_PRECISION()),
            staging=_always("double precision"),
            schema=validation.float_schema,
            read_text=_read_float,
            show=_same,
            bounded=True,
        ),
        TypeSpec(
            "decimal",
            arrow=_always(pa.string()),
            column=_numeric,
            staging=_always("text"),
            cast="::numeric",
            schema=validation.decimal_schema,
            read_text=_same,
            show=lambda value: format(value, "f"),
            bounded=True,
        ),
        TypeSpec(
            "boolean",
            arrow=_always(pa.bool_()),
            column=_always(sa.Boolean()),
            staging=_always("boolean"),
            schema=validation.boolean_schema,
            read_text=_read_boolean,
            show=_same,
        ),
        TypeSpec(
            "timestamp",
            arrow=_always(pa.timestamp("us", "UTC")),
            column=_always(postgresql.TIMESTAMP(timezone=True)),
            staging=_always("timestamptz"),
            schema=validation.timestamp_schema,
            read_text=_same,
            show=_show_timestamp,
            bounded=True,
        ),
        TypeSpec(
            "date",
            arrow=_always(pa.date32()),
            column=_always(sa.Date()),
            staging=_always("date"),
            schema=validation.date_schema,
            read_text=_same,
            show=lambda value: value.isoformat(),
            bounded=True,
        ),
        TypeSpec(
            "uuid",
            arrow=_always(pa.binary(16)),
            column=_always(postgresql.UUID(as_uuid=True)),
            staging=_always("uuid"),
            schema=validation.uuid_schema,
            read_text=_same,
            show=str,
        ),
        TypeSpec(
            "json",
            arrow=_always(pa.string()),
            column=_always(postgresql.JSONB(none_as_null=True)),
            staging=_always("text"),
            cast="::jsonb",
            schema=validation.json_schema,
            read_text=_read_json,
            show=_same,
            comparable=False,
        ),
        TypeSpec(
            "vector",
            arrow=lambda field: pa.list_(pa.float32(), field.dimensions or -1),
            column=lambda field: VECTOR(field.dimensions),
            staging=_always("vector"),
            schema=validation.vector_schema,
            read_text=_read_json,
            show=_show_vector,
            comparable=False,
        ),
        TypeSpec(
            "image",
            arrow=_always(pa.binary()),
            column=_always(sa.LargeBinary()),
            staging=_always("bytea"),
            schema=validation.image_schema,
            read_text=_same,
            show=_show_image,
            comparable=False,
        ),
    )
}
