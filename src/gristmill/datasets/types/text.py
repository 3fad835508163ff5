"""text: Unicode without NUL, in the order of its code points."""

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core import core_schema as schemas

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import columns
from gristmill.datasets.types.base import TEXT_OPERATORS, Expression, FieldType, Mistake
from gristmill.kit.normal_forms import Form, normal_form

DEFAULT_MAX_LENGTH = 65_536
MAX_LENGTH = 1_048_576
# Text of a key is an entry of a B-tree, whose entries end at about 2,700 bytes; see contract_checks.MAX_KEY_BYTES.
DEFAULT_KEY_MAX_LENGTH = 255


class Text(FieldType):
    name = "text"
    limits = ("max_length", "normalize")
    widest: ClassVar[Mapping[str, Any]] = {"max_length": MAX_LENGTH}
    operators = (*FieldType.operators, *TEXT_OPERATORS)
    read_by = "text"
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
        plain = schemas.str_schema(strict=True, max_length=_limit(field), pattern=r"^[^\x00]*$")
        form = field.normalize
        if form is None:
            return plain

        def normalise(value: Any) -> Any:
            try:
                return normal_form(value, form) if isinstance(value, str) else value
            except ValueError as error:
                raise PydanticCustomError("too_many_marks", "{reason}", {"reason": str(error)}) from error

        return schemas.no_info_before_validator_function(normalise, plain)

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        return columns.is_text(kind)

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        # UTF-8 has been checked where the column was read.
        limit = _limit(field)
        bad = columns.no_mask(array)
        if field.normalize is not None and pc.all(pc.string_is_ascii(array), min_count=0).as_py() is False:
            array, bad = _normalised(array, field.normalize)
        # No text has more characters than bytes, so most columns need no look at their characters.
        if (pc.max(pc.binary_length(array)).as_py() or 0) > limit:
            bad |= columns.to_mask(pc.greater(pc.utf8_length(array), limit))
        if not columns.content(array).all():
            bad |= columns.to_mask(pc.match_substring(array, "\0"))
        return array, bad

    def text_bytes(self, field: FieldSpec, column: Expression) -> int | Expression:
        return sa.func.coalesce(sa.func.octet_length(column), 0)


def _normalised(array: pa.Array, form: Form) -> columns.Checked:
    """Return the texts in a normal form; those that have none are marked."""
    texts, bad = array.to_pylist(), columns.no_mask(array)
    for row, text in enumerate(texts):
        if text is not None and not text.isascii():
            try:
                texts[row] = normal_form(text, form)
            except ValueError:
                bad[row] = True
    return pa.array(texts, pa.string()), bad


def _limit(field: FieldSpec) -> int:
    return field.max_length or DEFAULT_MAX_LENGTH


TYPE = Text()
