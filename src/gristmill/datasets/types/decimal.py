"""decimal: up to 38 digits, exactly as they were sent; never by way of a binary number."""

import math
import re
from collections.abc import Iterator, Sequence
from decimal import Context, Decimal, InvalidOperation
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core import core_schema as schemas

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import columns
from gristmill.datasets.types.base import NUMBER, Expression, FieldType, Mistake

MAX_DIGITS = 38
# Digits that an integer may have, of which a decimal may be made.
_INT64_DIGITS = 19
# The rule of numbers in text: a sign, digits, a point that may come first or last; a leading zero is refused.
_TEXT = re.compile(r"[+-]?((0|[1-9][0-9]*)(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
# Enough digits for every number that the pattern admits, so that nothing is ever rounded here.
_WIDE = Context(prec=2200, Emax=999_999, Emin=-999_999)
# Holds every decimal of a contract: 38 digits on either side of the point.
_ANY = pa.decimal256(2 * MAX_DIGITS, MAX_DIGITS)


class DecimalNumber(FieldType):
    name = "decimal"
    limited_as = NUMBER
    cell_is_number = True
    exact = "{}::numeric"
    limits = ("precision", "scale")
    bounded = True
    takes = ("integer",)
    cast = "::numeric"
    accepted_types = "decimal128, decimal256 (of at most 38 digits after the point), an integer type, or string"
    arrow_type = pa.string()
    staging_type = 'text COLLATE "C"'

    def with_defaults(self, field: FieldSpec, indexed: bool) -> FieldSpec:
        if field.precision is not None and field.scale is None:
            return field.model_copy(update={"scale": 0})
        return field

    def check(self, field: FieldSpec) -> Iterator[Mistake]:
        most = MAX_DIGITS if field.precision is None else field.precision
        for member, value, low, high in (
            ("precision", field.precision, 1, MAX_DIGITS),
            ("scale", field.scale, 0, most),
        ):
            if value is not None and not low <= value <= high:
                yield member, "out_of_range", f"{shorten(value)} is not from {low} to {high}"
        if field.scale is not None and field.precision is None:
            yield "scale", "not_applicable", "scale needs a precision beside it"

    def check_widening(self, before: FieldSpec, after: FieldSpec) -> Iterator[tuple[str, str]]:
        if after.precision is None:
            return
        whole, scale = after.precision - (after.scale or 0), after.scale or 0
        if before.type != self.name:
            need_whole, need_scale = _INT64_DIGITS, 0
        elif before.precision is None:
            need_whole = need_scale = MAX_DIGITS
        else:
            need_whole, need_scale = before.precision - (before.scale or 0), before.scale or 0
        if whole < need_whole or scale < need_scale:
            reason = f"{whole} digits before and {scale} after the point are fewer than {need_whole} and {need_scale}"
            yield "precision", reason

    def entry_bytes(self, field: FieldSpec) -> int:
        return 32

    def describe(self, field: FieldSpec) -> str:
        bounds = columns.bounds_phrase(field)
        if field.precision is None:
            return f"a decimal number{bounds}, as a string or an integer, of at most {MAX_DIGITS} digits"
        digits = f"{field.precision - (field.scale or 0)} digits before and {field.scale or 0} after the point"
        return f"a decimal number{bounds}, as a string or an integer, with at most {digits}"

    def schema(self, field: FieldSpec) -> CoreSchema:
        precision = field.precision or MAX_DIGITS
        scale = (field.scale or 0) if field.precision else MAX_DIGITS
        whole = precision - scale if field.precision else MAX_DIGITS
        low, high = self.bound(field, field.minimum), self.bound(field, field.maximum)
        if field.precision:
            rule = f"has more than {whole} digits before or {scale} after the point"
        else:
            rule = f"has more than {MAX_DIGITS} significant digits, or digits beyond {MAX_DIGITS} places of the point"

        def fits(number: Decimal) -> bool:
            _, digits, exponent = number.as_tuple()
            assert isinstance(exponent, int)
            return not number or (len(digits) <= precision and -exponent <= scale and len(digits) + exponent <= whole)

        def check(value: Any) -> Decimal:
            number = _read(value)
            # Trailing zeros carry no information, so they do not count against the limits.
            if not fits(number) and not fits(number.normalize(_WIDE)):
                raise PydanticCustomError("too_many_digits", rule)
            if (low is not None and number < low) or (high is not None and number > high):
                raise PydanticCustomError(
                    "out_of_range", f"is outside {field.minimum or '…'} to {field.maximum or '…'}"
                )
            return _canonical(number, scale)

        return schemas.no_info_plain_validator_function(check)

    def show(self, value: Any) -> Any:
        return format(value, "f")

    def accepts(self, field: FieldSpec, kind: pa.DataType) -> bool:
        fits = (pa.types.is_decimal128(kind) or pa.types.is_decimal256(kind)) and 0 <= kind.scale <= MAX_DIGITS
        return bool(fits or pa.types.is_integer(kind) or columns.is_text(kind))

    def check_column(self, field: FieldSpec, array: pa.Array) -> columns.Checked:
        """Accept those whose text is canonical already, and plainly within limits."""
        valid = columns.valid_mask(array)
        texts = _texts(field, array)
        if texts is None:
            return pa.nulls(len(array), pa.string()), valid
        if field.precision:
            whole, fraction = field.precision - (field.scale or 0), field.scale or 0
        else:
            # Together at most 38; how numbers with more on one side are counted is left to single validation.
            whole, fraction = MAX_DIGITS // 2, MAX_DIGITS // 2
        before = f"(0|[1-9][0-9]{{0,{whole - 1}}})" if whole else "0"
        after = rf"(\.[0-9]{{1,{fraction}}})?" if fraction else ""
        good = columns.to_mask(pc.match_substring_regex(texts, f"^-?{before}{after}$"))
        good &= ~columns.to_mask(pc.match_substring_regex(texts, r"^-0(\.0+)?$"))
        texts = columns.keep_only(texts, good)
        if field.minimum is not None or field.maximum is not None:
            numbers = texts.cast(_ANY)
            for bound, compare in ((field.minimum, pc.less), (field.maximum, pc.greater)):
                if bound is not None:
                    good &= ~columns.to_mask(compare(numbers, pa.scalar(self.bound(field, bound), _ANY)))
        return texts, valid & ~good

    def from_scalar(self, scalar: pa.Scalar) -> Any:
        value = scalar.as_py()
        return format(value, "f") if isinstance(value, Decimal) else value

    def to_column(self, field: FieldSpec, values: Sequence[Any]) -> pa.Array:
        return pa.array([None if value is None else format(value, "f") for value in values], pa.string())

    def to_compare(self, column: Any) -> Any:
        # As texts 1.0 and 1.00 differ.
        return pc.cast(column, _ANY)

    def as_stored(self, field: FieldSpec, column: pa.ChunkedArray) -> pa.ChunkedArray:
        # Records that were submitted when the field was an integer.
        return column if pa.types.is_string(column.type) else column.cast(pa.string())

    def key_values(self, column: pa.ChunkedArray) -> list[Any]:
        return [None if value is None else Decimal(value) for value in column.to_pylist()]

    def column(self, field: FieldSpec) -> sa.types.TypeEngine[Any]:
        return sa.Numeric(field.precision, field.scale or 0) if field.precision else sa.Numeric()

    def json_member(self, column: Expression) -> Expression:
        return sa.cast(column, sa.Text)


def _read(value: Any) -> Decimal:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise PydanticCustomError("not_finite", "is no number that JSON can hold: send a finite one as a string")
        raise PydanticCustomError(
            "decimal_from_float",
            "is a JSON number with a fraction or an exponent, which may have lost digits: send a string",
        )
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise PydanticCustomError("wrong_type", "is neither a string nor an integer")
    if isinstance(value, int):
        if value.bit_length() > 4 * MAX_DIGITS:
            raise PydanticCustomError("too_many_digits", f"has more than {MAX_DIGITS} digits")
        return Decimal(value)
    if len(value) > 1000 or not _TEXT.fullmatch(value):
        raise PydanticCustomError("not_a_decimal", 'is not a decimal number such as "12.50"')
    try:
        return Decimal(value)
    except InvalidOperation as error:  # pragma: no cover - the pattern admits nothing that Decimal refuses
        raise PydanticCustomError("not_a_decimal", "is not a decimal number") from error


def _canonical(number: Decimal, scale: int) -> Decimal:
    """Return ``number`` without an exponent, without -0 and without zeros beyond ``scale``: as Postgres prints it."""
    exponent = number.as_tuple().exponent
    assert isinstance(exponent, int)
    if number and -scale <= exponent <= 0:
        return number
    places = min(max(-exponent, 0), scale)
    fixed = number.quantize(Decimal(1).scaleb(-places), context=_WIDE)
    return fixed if fixed else abs(fixed)


def _texts(field: FieldSpec, array: pa.Array) -> pa.Array | None:
    """Return the numbers of a column as texts, or None if that would cost digits."""
    if not pa.types.is_decimal(array.type):
        return array.cast(pa.string())
    if field.precision and array.type.scale > (field.scale or 0):
        try:
            # The digits that go are zeros, or the cast fails.
            array = array.cast(pa.decimal256(2 * MAX_DIGITS, field.scale or 0))
        except pa.ArrowInvalid:
            return None
    scale = array.type.scale
    texts = array.cast(pa.string())
    # A zero of many places would be written with an exponent.
    zero = pc.equal(array, pa.scalar(0, array.type)) if scale else None
    return texts if zero is None else pc.if_else(zero, "0." + "0" * scale, texts)


TYPE = DecimalNumber()
