"""json: any JSON value that jsonb keeps as it is."""

import json
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from pydantic_core import CoreSchema, PydanticCustomError, ValidationError, from_json
from pydantic_core import core_schema as schemas
from sqlalchemy.dialects import postgresql

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.json_members import split_path
from gristmill.datasets.types import columns
from gristmill.datasets.types.base import Expression, FieldType, Mistake
from gristmill.datasets.types.nested import fits_json, fits_member, json_value

MAX_DEPTH = 32
# Each is an index that every write keeps up.
MAX_MEMBERS = 16
# Kinds of values, each of which stands for itself: a text is no JSON text.
PLAIN_TYPES = (
    "null, bool, integers, double, float, halffloat, string, decimal, date, timestamp, struct, list or map of these "
    "(with keys of text, no name twice), or the extension arrow.json"
)
# Where a parser found a mistake in a text of one line; a line of the body would be understood.
_PLACE = re.compile(r" at line 1 column (?=\d+$)")


class Json(FieldType):
    name = "json"
    operators = ("contains", "null")
    limits = ("members",)
    may_be_key = False
    cell_is_json = True
    nests = True
    extension = "arrow.json"
    cast = "::jsonb"
    accepted_types = (
        "string (of JSON text), the extension arrow.json, or struct, list or map (with keys of text, no name twice) of "
        "null, bool, integers, double, float, halffloat, string, decimal, date or timestamp"
    )
    arrow_type = pa.string()
    sql_type = postgresql.JSONB(none_as_null=True)
    staging_type = 'text COLLATE "C"'

    def check(self, field: FieldSpec) -> Iterator[Mistake]:
        seen: set[tuple[str, ...]] = set()
        for index, member in enumerate(field.members):
            place = f"members/{index}/path"
            try:
                names = split_path(member.path)
            except ValueError as error:
                yield place, "bad_path", f"{shorten(member.path)} is no path: {error}"
                continue
            if names in seen:
                yield place, "duplicate", f"The path {shorten(member.path)} is declared twice"
            seen.add(names)
        if len(field.members) > MAX_MEMBERS:
            yield "members", "too_many", f"{len(field.members)} members are too many: a field has at most {MAX_MEMBERS}"

    def describe(self, field: FieldSpec) -> str:
        return f"a JSON value without NUL, nested at most {MAX_DEPTH} levels deep"

    def schema(self, field: FieldSpec) -> CoreSchema:
        return schemas.no_info_plain_validator_function(_check)

    def from_text(self, field: FieldSpec, text: str) -> Any:
        return read_json_cell(text)

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        return columns.is_text(kind) or fits_json(kind, MAX_DEPTH)

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        """There is no compiled check for what jsonb takes, so the values are judged one by one."""
        values: list[str | None] = []
        bad = columns.no_mask(array)
        nested = pa.types.is_nested(array.type)
        for index, item in enumerate(array if nested else array.to_pylist()):
            given = item.is_valid if nested else item is not None
            try:
                found = (json_value(item) if nested else from_json(item, allow_inf_nan=False)) if given else None
                value = None if found is None else self.parse(field, found)
            except (ValidationError, ValueError):
                value = None
            # The JSON text null stands for no value, which a required field does not take.
            bad[index] = given and value is None
            values.append(None if value is None else dump_json(value))
        return pa.array(values, pa.string()), bad

    def from_scalar(self, scalar: pa.Scalar) -> Any:
        return json_value(scalar) if pa.types.is_nested(scalar.type) else read_json_cell(scalar.as_py())

    def to_column(self, field: FieldSpec, values: Sequence[Any]) -> pa.Array:
        return pa.array([None if value is None else dump_json(value) for value in values], pa.string())

    def parameter(self, value: Any) -> Any:
        return dump_json(value)

    def text_bytes(self, field: FieldSpec, column: Expression) -> int | Expression:
        # What is compressed may be many times its size.
        plain = sa.func.pg_column_compression(column).is_(None)
        written = sa.func.octet_length(sa.cast(column, sa.Text))
        size = sa.case((plain, 2 * sa.func.pg_column_size(column)), else_=written)
        return sa.func.coalesce(size, 0)


def read_json_cell(text: str) -> Any:
    """Return the value of JSON text. Raises ValueError where it is none."""
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError as error:
        raise ValueError(f"the cell is not JSON: {_PLACE.sub(' at its character ', str(error))}") from error


def takes_plain(kind: pa.DataType) -> bool:
    """Say whether a column of type ``kind`` is one of ``PLAIN_TYPES``."""
    if isinstance(kind, pa.BaseExtensionType):
        return bool(kind.extension_name == Json.extension)
    return fits_member(kind, MAX_DEPTH)


def read_plain(scalar: pa.Scalar) -> Any:
    """Return a value of such a column as JSON has it, still to be validated. Raises ValueError where it has none."""
    if not scalar.is_valid:
        return None
    return read_json_cell(scalar.value.as_py()) if isinstance(scalar, pa.ExtensionScalar) else json_value(scalar)


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


def _check(value: Any) -> Any:
    """Walk ``value`` without recursion; refuse what jsonb cannot hold or would change."""
    pending: list[tuple[Any, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, str):
            check_text(item)
        elif isinstance(item, float):
            if not math.isfinite(item):
                raise PydanticCustomError("not_finite", "holds a number that is not finite")
        elif isinstance(item, int):
            # Python refuses to print longer integers, so they could be stored but never read.
            if item.bit_length() > 3400:
                raise PydanticCustomError("out_of_range", "holds an integer of more than 1,000 digits")
        elif isinstance(item, dict | list):
            if depth > MAX_DEPTH:
                raise PydanticCustomError("too_deep", f"is nested deeper than {MAX_DEPTH} levels")
            if isinstance(item, dict):
                for name in item:
                    check_text(name)
                pending.extend((inner, depth + 1) for inner in item.values())
            else:
                pending.extend((inner, depth + 1) for inner in item)
        elif item is not None:
            raise PydanticCustomError("wrong_type", "is not a JSON value")
    return value


def check_text(text: Any) -> None:
    """Raise PydanticCustomError for what jsonb cannot hold as a text or the name of a member."""
    if not isinstance(text, str):
        raise PydanticCustomError("wrong_type", "has a member name that is not a string")
    if "\0" in text:
        raise PydanticCustomError("nul", "holds a NUL character, which Postgres cannot store")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PydanticCustomError("bad_unicode", "holds half of a surrogate pair") from error


TYPE = Json()
