"""text: Unicode without NUL, in the order of its code points."""

from collections.abc import Iterator, Mapping
from typing import ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pydantic_core import CoreSchema
from pydantic_core import core_schema as schemas

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import columns
from gristmill.datasets.types.base import TEXT_OPERATORS, Expression, FieldType, Mistake

DEFAULT_MAX_LENGTH = 65_536
MAX_LENGTH = 1_048_576
# Text of a key is an entry of a B-tree, whose entries end at about 2,700 bytes; see contract_checks.MAX_KEY_BYTES.
DEFAULT_KEY_MAX_LENGTH = 255


class Text(FieldType):
    name = "text"
    limits = ("max_length",)
    operators = (*FieldType.operators, *TEXT_OPERATORS)
    embeddable = True
    codes: ClassVar[Mapping[str, str]] = {"string_pattern_mismatch": "nul", "string_too_long": "too_long"}
    accepted_types = "string"
    arrow_type = pa.string()
    # Byte order: the same on every machine and version, and an index on it serves prefixes.
    sql_type = sa.Text(collation="C")
    staging_type = 'text COLLATE "C"'

    def with_defaults(self, field: FieldSpec, indexed: bool) -> FieldSpec:
        if indexed and field.max_length is None:
            return field.model_copy(update={"max_length": DEFAULT_KEY_MAX_LENGTH})
        return field

    def check(self, field: FieldSpec) -> Iterator[Mistake]:
        if field.max_length is not None and not 1 <= field.max_length <= MAX_LENGTH:
            yield "max_length", "out_of_range", f"{shorten(field.max_length)} is not from 1 to {MAX_LENGTH}"

    def check_widening(self, before: FieldSpec, after: FieldSpec) -> Iterator[tuple[str, str]]:
        low, high = _limit(before), _limit(after)
        if high < low:
            yield "max_length", f"{high} is smaller than {low}: a limit can only be widened"

    def entry_bytes(self, field: FieldSpec) -> int:
        # UTF-8 has up to 4 bytes a character.
        return 4 * _limit(field) + 4

    def describe(self, field: FieldSpec) -> str:
        return f"text of at most {_limit(field)} characters without NUL"

    def schema(self, field: FieldSpec) -> CoreSchema:
        return schemas.str_schema(strict=True, max_length=_limit(field), pattern=r"^[^\x00]*$")

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        return columns.is_text(kind)

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        # UTF-8 has been checked where the column was read.
        limit = _limit(field)
        bad = columns.no_mask(array)
        # No text has more characters than bytes, so most columns need no look at their characters.
        if (pc.max(pc.binary_length(array)).as_py() or 0) > limit:
            bad |= columns.to_mask(pc.greater(pc.utf8_length(array), limit))
        if not columns.content(array).all():
            bad |= columns.to_mask(pc.match_substring(array, "\0"))
        return array, bad

    def text_bytes(self, field: FieldSpec, column: Expression) -> int | Expression:
        return sa.func.coalesce(sa.func.octet_length(column), 0)


def _limit(field: FieldSpec) -> int:
    return field.max_length or DEFAULT_MAX_LENGTH


TYPE = Text()
