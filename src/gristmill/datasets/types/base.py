"""What there is to know of a field type: the class that each file of this folder fills in for one type, by default as
for text."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pyarrow as pa
import sqlalchemy as sa
from pydantic_core import CoreSchema

from gristmill.datasets.contract import FieldSpec, TypeName
from gristmill.datasets.describe import cut, shorten
from gristmill.datasets.types.binary_copy import varying_fields
from gristmill.datasets.types.columns import Checked, no_mask
from gristmill.datasets.types.validators import expected, validator
from gristmill.embeddings.port import Reads

Expression = sa.ColumnElement[Any]
COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
TEXT_OPERATORS = ("contains", "icontains", "starts_with", "prefix")  # prefix: its first name.
# pydantic's error types as codes of ours; what stands neither here nor in a type's ``codes`` is one already.
_CODES = {
    "string_pattern_mismatch": "invalid",
    "string_unicode": "bad_unicode",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
    "finite_number": "not_finite",
}
NUMBER = "number"
Mistake = tuple[str, str, str]  # Member of the field, code, reason.


class FieldType(ABC):
    """One type. Canonical values are those that validation gives; the methods of one kind stand together.

    accepted_types, arrow_type, sql_type, staging_type: what ``accepted``, ``arrow``, ``column``, ``staging`` return.
    limits: members of a FieldSpec that apply to this type alone. bounded: minimum and maximum apply, too. widest:
    limits that take more than a field takes that does not name them. operators: what ``where`` takes. may_be_key: fit
    for keys; such a type is comparable. is_time: may be a time field. becomes: names of the types that a field of this
    type may be changed to. takes: names of the types that a step may make for a field of this type, besides it.
    read_by: the kind of embedders that read it; what those of text read has words. most_of_a_chunk: records of a chunk
    whose values are looked into, where that takes milliseconds each. cell_is_json, cell_is_number: in CSV the value is
    JSON text; is a number, which dialects write in their own ways. nests: values may nest to any depth. codes: the
    stable codes of this type for pydantic's error types. extension: the Arrow extension that is accepted. cast: makes
    staged values stored. limited_as: what limits measure values as: NUMBER or the name of the type. exact: SQL of such
    a value of column {}. cutoff: SQL of the value before which records are too old after ``%(keep)s``, of time types.
    """

    name: ClassVar[TypeName]
    accepted_types: ClassVar[str]
    arrow_type: ClassVar[pa.DataType]
    sql_type: ClassVar[sa.types.TypeEngine[Any]]
    staging_type: ClassVar[str]
    limits: ClassVar[tuple[str, ...]] = ()
    widest: ClassVar[Mapping[str, Any]] = MappingProxyType({})
    bounded: ClassVar[bool] = False
    operators: ClassVar[tuple[str, ...]] = (*COMPARISONS, "in", "between", "null")
    may_be_key: ClassVar[bool] = True
    is_time: ClassVar[bool] = False
    becomes: ClassVar[tuple[TypeName, ...]] = ()
    takes: ClassVar[tuple[TypeName, ...]] = ()
    read_by: ClassVar[Reads | None] = None
    most_of_a_chunk: ClassVar[int | None] = None
    cell_is_json: ClassVar[bool] = False
    cell_is_number: ClassVar[bool] = False
    nests: ClassVar[bool] = False
    codes: ClassVar[Mapping[str, str]] = MappingProxyType({})
    extension: ClassVar[str | None] = None
    cast: ClassVar[str] = ""
    limited_as: ClassVar[str | None] = None
    exact: ClassVar[str] = "{}"
    cutoff: ClassVar[str | None] = None

    # The contract.

    @property
    def comparable(self) -> bool:
        """Whether records may be ordered by the field, and it may be filterable."""
        return "eq" in self.operators

    def with_defaults(self, field: FieldSpec, indexed: bool) -> FieldSpec:
        """Return the field with the limits that it has unless the contract says otherwise. indexed: key, filterable."""
        return field

    def check(self, field: FieldSpec) -> Iterator[Mistake]:
        """Yield what is wrong with the limits of the field, minimum and maximum apart."""
        yield from ()

    def check_widening(self, before: FieldSpec, after: FieldSpec) -> Iterator[tuple[str, str]]:
        """Yield (member, reason) where ``after``, of this type, takes less than ``before``, bounds apart."""
        yield from ()

    def entry_bytes(self, field: FieldSpec) -> int:
        """Return how many bytes a value takes in an index at most."""
        return 16

    @abstractmethod
    def describe(self, field: FieldSpec) -> str:
        """Return a phrase that says what the field takes, such as "an integer from 0 to 10"."""

    # Single values.

    @abstractmethod
    def schema(self, field: FieldSpec) -> CoreSchema:
        """Return the core schema: strict, for JSON text and for the Python objects of JSON, without null."""

    def from_text(self, field: FieldSpec, text: str) -> Any:
        """Return the JSON-like value that the CSV cell ``text`` stands for, still to be validated.

        A cell that is no value of the type is returned as it is, so that the validator refuses and shows it.
        Raises ValueError when the cell should hold JSON and does not.
        """
        return text

    def from_query(self, text: str) -> Any:
        """Return the JSON-like value that a parameter of a URL stands for, still to be validated."""
        return text

    def parse(self, field: FieldSpec, value: Any) -> Any:
        """Return the canonical value of the JSON-like ``value``. Raises pydantic_core.ValidationError."""
        return validator(self, field).validate_python(value)

    def bound(self, field: FieldSpec, value: Any) -> Any:
        """Return ``minimum`` or ``maximum`` of the field as a canonical value; None stays None."""
        return None if value is None else self.parse(field.without_bounds(), value)

    def show(self, value: Any) -> Any:
        """Return a value, canonical or as read from Postgres, as JSON has it."""
        return value

    def to_json(self, value: Any) -> Any:
        """Return what ``show`` returns; None stays None."""
        return None if value is None else self.show(value)

    @property
    def shown_by(self) -> Callable[[Any], Any] | None:
        """``show``, or None where that does nothing: many values need no call each."""
        return None if type(self).show is FieldType.show else self.show

    def shown_in(self, zone: ZoneInfo) -> Callable[[Any], Any] | None:
        """Return what shows values in a time zone, as ``shown_by`` does without one."""
        return self.shown_by

    def part(self, error: Mapping[str, Any]) -> tuple[str, str] | None:
        """Return what an error inside a value is about and what is valid there; None for the value as a whole."""
        return None

    def explain(self, field: FieldSpec, error: Mapping[str, Any]) -> tuple[str, str]:
        """Return (stable code, sentence) for one item of a pydantic ``ValidationError.errors()`` about ``field``.

        The sentence shows the value, shortened, and what would be valid. error: may have as ``token`` what was sent.
        """
        kind, value = error["type"], error.get("input")
        if kind == "missing":
            return "missing", f"The required field {field.name} is missing: expected {expected(self, field)}"
        part = self.part(error)
        if value is None and part is not None:
            return "null", f"{part[0].capitalize()} is null: expected {part[1]}"
        if value is None:
            return "null", f"null is not allowed: the field is required and takes {expected(self, field)}"
        shown, valid = cut(error["token"]) if "token" in error else shorten(value), expected(self, field)
        if part is not None:
            shown, valid = f"{part[0]}, {shown},", part[1]
        code = "wrong_type" if kind.endswith("_type") else self.codes.get(kind) or _CODES.get(kind)
        if code is not None:
            return code, f"{shown} is not {valid}"
        return kind, f"{shown} {error['msg']}: expected {valid}"

    # Columns that clients send.

    def accepted(self, field: FieldSpec) -> str:
        """Return a phrase that says which Arrow types a column for ``field`` may have."""
        return self.accepted_types

    @abstractmethod
    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        """Say whether a column of type ``kind``, no dictionary or extension, can hold valid values of ``field``."""

    def accepts_column(self, field: FieldSpec, kind: pa.DataType) -> bool:
        """Say whether a column of any type ``kind`` can hold valid values of ``field``."""
        if isinstance(kind, pa.BaseExtensionType):
            return bool(kind.extension_name == self.extension)
        if pa.types.is_dictionary(kind):
            # A dictionary of lists would have to be written out, whatever its size; no common writer makes one.
            return not pa.types.is_nested(kind.value_type) and self.accepts_column(field, kind.value_type)
        return bool(pa.types.is_null(kind)) or self.accepts(field, kind)

    def read_cells(self, field: FieldSpec, array: pa.Array) -> Checked:
        """Return a column of CSV cells (text) as one that ``check_column`` takes, and the cells left to single reading.

        A cell that is not plainly a value of the type is marked.
        """
        return array, no_mask(array)

    @abstractmethod
    def check_column(self, field: FieldSpec, array: pa.Array) -> Checked:
        """Return the payload column of an accepted one, and a mask of what is wrong or cannot be judged as a column.

        array: of a plain type, without dictionaries and extensions. Nulls are never marked.
        """

    def from_arrow(self, field: FieldSpec, scalar: pa.Scalar) -> Any:
        """Return one value of a column, accepted or of a payload, as the JSON-like value that validation takes.

        What is too precise becomes a text that is. Raises ValueError for text that should be JSON and is not.
        """
        if not scalar.is_valid:
            return None
        if pa.types.is_dictionary(scalar.type) or isinstance(scalar, pa.ExtensionScalar):
            return self.from_arrow(field, scalar.value)
        return self.from_scalar(scalar)

    def from_scalar(self, scalar: pa.Scalar) -> Any:
        """Do what ``from_arrow`` does for a plain value that is not null."""
        return scalar.as_py()

    # Payloads and how they are written.

    def arrow(self, field: FieldSpec) -> pa.DataType:
        """Return the type of the field's column in a payload."""
        return self.arrow_type

    def to_column(self, field: FieldSpec, values: Sequence[Any]) -> pa.Array:
        """Return canonical values, None among them, as a payload column."""
        return pa.array(values, self.arrow(field))

    def to_compare(self, column: Any) -> Any:
        """Return a payload column, or one of its values, such that Arrow compares it as Postgres does."""
        return column

    def stored_type(self, field: FieldSpec) -> pa.DataType:
        """Return the Arrow type of what ``as_stored`` returns."""
        return self.arrow(field)

    def as_stored(self, field: FieldSpec, column: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return a payload column, perhaps made when the field had another type, as the field is stored now."""
        return column

    def key_values(self, column: pa.ChunkedArray) -> list[Any]:
        """Return the canonical values of a stored column; they compare as Postgres orders them."""
        return column.to_pylist()  # type: ignore[no-any-return]

    def parameter(self, value: Any) -> Any:
        """Return a canonical value as psycopg2 takes it; what it has no adapter for goes as text."""
        return value

    def parameters(self, column: pa.ChunkedArray) -> list[Any]:
        """Return the values of a stored column as psycopg2 takes them."""
        return column.to_pylist()  # type: ignore[no-any-return]

    def copy_fields(self, array: pa.Array) -> list[pa.Array]:
        """Return a stored column as binary arrays that, joined row by row, are its fields in a binary COPY."""
        return varying_fields(array)

    # Postgres.

    def column(self, field: FieldSpec) -> sa.types.TypeEngine[Any]:
        """Return the type of the stored column."""
        return self.sql_type

    def staging(self, field: FieldSpec) -> str:
        """Return the SQL type of the column that COPY fills; ``cast`` turns it into the stored one."""
        return self.staging_type

    def plain_bytes(self, field: FieldSpec) -> int | None:
        """Return how many bytes a value takes that is best stored in the row itself, or None for other types."""
        return None

    # Exports: expressions of what Postgres writes, and how columns of Parquet are made of it.

    def csv_cell(self, column: Expression) -> Expression:
        """Return the column as COPY writes it into a CSV cell that POST takes."""
        return column

    def json_member(self, column: Expression) -> Expression:
        """Return the column such that row_to_json writes what POST takes."""
        return column

    def arrow_cell(self, column: Expression) -> Expression:
        """Return the column as a CSV cell that is quick to make an Arrow column of."""
        return self.csv_cell(column)

    def text_bytes(self, field: FieldSpec, column: Expression) -> int | Expression:
        """Return about how many bytes a value has as text, found without fetching what is stored out of line."""
        return 32

    def export_type(self, field: FieldSpec) -> pa.DataType:
        """Return the type of the exported column."""
        return self.arrow(field)

    def read_type(self, field: FieldSpec) -> pa.DataType:
        """Return the type that Arrow's CSV reader gives the column of ``arrow_cell``."""
        return self.export_type(field)

    def finish(self, field: FieldSpec, column: pa.ChunkedArray) -> Any:
        """Return the exported column of what was read."""
        return column
