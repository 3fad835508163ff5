"""How a value of each contract type is validated: one pydantic core schema per field, strict and exact.

Every schema takes JSON text as well as the Python objects that JSON text parses to, so that records, CSV cells, bounds
and filters are all judged by the same rule. What pydantic can do in its compiled core is left to it; only types whose
rules it lacks (decimal, json, image, offsets) call Python, once per value.
"""

import base64
import binascii
import datetime as dt
import math
import re
from decimal import Context, Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from pydantic_core import CoreSchema, PydanticCustomError, SchemaValidator
from pydantic_core import core_schema as schemas

from gristmill.datasets.contract import (
    DEFAULT_MAX_BYTES,
    DEFAULT_MAX_LENGTH,
    FLOAT16_MAX,
    MAX_DIGITS,
    FieldSpec,
    VectorStorage,
)

INT64 = (-(2**63), 2**63 - 1)
# The largest 32-bit float in the fewest digits that name it, as reads show it; a little above its exact value.
FLOAT32_MAX = 3.4028235e38
MAX_JSON_DEPTH = 32
# Squares of float32 numbers outside this range overflow or vanish, and the distance becomes infinite or NaN.
NORM_RANGE = (1e-18, 1e18)
# The smallest number above zero that a 16-bit float names.
FLOAT16_TINY = 2.0**-24

_TIMESTAMP = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6})?)?"
_OFFSET = r"([Zz]|[+-][0-9]{2}:?[0-9]{2})"
_UUID = r"^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}$"
_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
# Enough digits for every number that the pattern admits, so that nothing is ever rounded here.
_WIDE = Context(prec=2200, Emax=999_999, Emin=-999_999)
_IMAGE_STARTS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")


def text_schema(field: FieldSpec) -> CoreSchema:
    return schemas.str_schema(strict=True, max_length=field.max_length or DEFAULT_MAX_LENGTH, pattern=r"^[^\x00]*$")


def integer_schema(field: FieldSpec) -> CoreSchema:
    low, high = field.minimum, field.maximum
    return schemas.int_schema(strict=True, ge=INT64[0] if low is None else low, le=INT64[1] if high is None else high)


def float_schema(field: FieldSpec) -> CoreSchema:
    return schemas.float_schema(strict=True, allow_inf_nan=False, ge=field.minimum, le=field.maximum)


def boolean_schema(_field: FieldSpec) -> CoreSchema:
    return schemas.bool_schema(strict=True)


def uuid_schema(_field: FieldSpec) -> CoreSchema:
    # The pattern comes first because the parser also takes URNs, braces and forms without hyphens.
    return schemas.chain_schema([schemas.str_schema(strict=True, pattern=_UUID), schemas.uuid_schema()])


def date_schema(field: FieldSpec) -> CoreSchema:
    shape = schemas.str_schema(strict=True, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")
    low, high = (None if bound is None else dt.date.fromisoformat(bound) for bound in (field.minimum, field.maximum))
    return schemas.chain_schema([shape, schemas.date_schema(ge=low, le=high)])


def timestamp_schema(field: FieldSpec) -> CoreSchema:
    # The parser alone would take bare numbers as Unix seconds and dates as midnights.
    pattern = _TIMESTAMP + (f"{_OFFSET}?$" if field.zone else f"{_OFFSET}$")
    zone = ZoneInfo(field.zone) if field.zone else None

    def to_utc(value: dt.datetime) -> dt.datetime:
        try:
            if value.tzinfo is None:
                assert zone is not None
                value = _localise(value, zone)
            return value.astimezone(dt.UTC)
        except OverflowError as error:
            raise PydanticCustomError("out_of_range", "is outside the years 1 to 9999 in UTC") from error

    moment: CoreSchema = schemas.no_info_after_validator_function(
        to_utc,
        schemas.chain_schema([schemas.str_schema(strict=True, pattern=pattern), schemas.datetime_schema()]),
    )
    if field.minimum is None and field.maximum is None:
        return moment
    low, high = (_bound(field, bound) for bound in (field.minimum, field.maximum))
    return schemas.chain_schema([moment, schemas.datetime_schema(ge=low, le=high)])


def _localise(value: dt.datetime, zone: ZoneInfo) -> dt.datetime:
    """Return the naive ``value`` in ``zone``; refuse times that the clock there skipped or showed twice."""
    first, second = value.replace(tzinfo=zone, fold=0), value.replace(tzinfo=zone, fold=1)
    if first.utcoffset() == second.utcoffset():
        return first
    # When a clock is put forward, the skipped times have a smaller offset before the change than after it.
    how = (
        "does not exist"
        if (first.utcoffset() or dt.timedelta()) < (second.utcoffset() or dt.timedelta())
        else "is ambiguous"
    )
    raise PydanticCustomError("local_time", "{how} in the zone {zone}: give an offset", {"how": how, "zone": zone.key})


def decimal_schema(field: FieldSpec) -> CoreSchema:
    precision = field.precision or MAX_DIGITS
    scale = (field.scale or 0) if field.precision else MAX_DIGITS
    whole = precision - scale if field.precision else MAX_DIGITS
    low, high = (_bound(field, bound) for bound in (field.minimum, field.maximum))

    def fits(number: Decimal) -> bool:
        _, digits, exponent = number.as_tuple()
        assert isinstance(exponent, int)
        return not number or (len(digits) <= precision and -exponent <= scale and len(digits) + exponent <= whole)

    def check(value: Any) -> Decimal:
        number = _read_decimal(value)
        # Trailing zeros carry no information, so they do not count against the limits.
        if not fits(number) and not fits(number.normalize(_WIDE)):
            if field.precision:
                rule = f"has more than {whole} digits before or {scale} after the point"
            else:
                rule = (
                    f"has more than {MAX_DIGITS} significant digits, or digits beyond {MAX_DIGITS} places of the point"
                )
            raise PydanticCustomError("too_many_digits", rule)
        if (low is not None and number < low) or (high is not None and number > high):
            raise PydanticCustomError("out_of_range", f"is outside {field.minimum or '…'} to {field.maximum or '…'}")
        return _canonical(number, scale)

    return schemas.no_info_plain_validator_function(check)


def _read_decimal(value: Any) -> Decimal:
    if isinstance(value, float):
        raise PydanticCustomError(
            "decimal_from_float", "is a JSON number with a fraction, which may have lost digits: send a string"
        )
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise PydanticCustomError("wrong_type", "is neither a string nor an integer")
    if isinstance(value, int):
        if value.bit_length() > 4 * MAX_DIGITS:
            raise PydanticCustomError("too_many_digits", f"has more than {MAX_DIGITS} digits")
        return Decimal(value)
    if len(value) > 1000 or not _DECIMAL.fullmatch(value):
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


def json_schema(_field: FieldSpec) -> CoreSchema:
    return schemas.no_info_plain_validator_function(_check_json)


def _check_json(value: Any) -> Any:
    """Walk ``value`` without recursion; refuse what jsonb cannot hold or would change."""
    pending: list[tuple[Any, int]] = [(value, 1)]
    while pending:
        item, depth = pending.pop()
        if isinstance(item, str):
            _check_json_text(item)
        elif isinstance(item, float):
            if not math.isfinite(item):
                raise PydanticCustomError("not_finite", "holds a number that is not finite")
        elif isinstance(item, int):
            # Python refuses to print longer integers, so they could be stored but never read.
            if item.bit_length() > 3400:
                raise PydanticCustomError("out_of_range", "holds an integer of more than 1,000 digits")
        elif isinstance(item, dict | list):
            if depth > MAX_JSON_DEPTH:
                raise PydanticCustomError("too_deep", f"is nested deeper than {MAX_JSON_DEPTH} levels")
            if isinstance(item, dict):
                for name in item:
                    _check_json_text(name)
                pending.extend((inner, depth + 1) for inner in item.values())
            else:
                pending.extend((inner, depth + 1) for inner in item)
        elif item is not None:
            raise PydanticCustomError("wrong_type", "is not a JSON value")
    return value


def _check_json_text(text: Any) -> None:
    if not isinstance(text, str):
        raise PydanticCustomError("wrong_type", "has a member name that is not a string")
    if "\0" in text:
        raise PydanticCustomError("nul", "holds a NUL character, which Postgres cannot store")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise PydanticCustomError("bad_unicode", "holds half of a surrogate pair") from error


def vector_schema(field: FieldSpec, largest: float = FLOAT32_MAX) -> CoreSchema:
    number = schemas.float_schema(strict=True, allow_inf_nan=False, ge=-largest, le=largest)
    return schemas.list_schema(number, strict=True, min_length=field.dimensions, max_length=field.dimensions)


def embedding_schema(dimensions: int, metric: str, storage: VectorStorage = "vector") -> CoreSchema:
    """The schema of a vector that is searched by: its length must be one that distances can be computed with.

    storage: halfvec takes what 16-bit floats hold, and for the cosine something that does not round to zero there.
    """
    low, high = NORM_RANGE
    half = storage == "halfvec"

    def check_half(values: list[float]) -> list[float]:
        if metric == "cosine" and max(map(abs, values)) < FLOAT16_TINY:
            raise PydanticCustomError(
                "zero_vector", "is a zero vector once it is stored as halfvec, which has no direction to compare"
            )
        return check(values)

    def check(values: list[float]) -> list[float]:
        norm = math.hypot(*values)
        if norm > high:
            raise PydanticCustomError("out_of_range", f"is longer than {high:g}, so distances to it would overflow")
        if metric == "cosine" and norm < low:
            raise PydanticCustomError(
                "zero_vector",
                "is a zero vector (or shorter than {low}), which has no direction to compare",
                {"low": f"{low:g}"},
            )
        return values

    field = FieldSpec(name="_embedding", type="vector", dimensions=dimensions)
    plain = vector_schema(field, FLOAT16_MAX if half else FLOAT32_MAX)
    return schemas.no_info_after_validator_function(check_half if half else check, plain)


def image_schema(field: FieldSpec) -> CoreSchema:
    limit = field.max_bytes or DEFAULT_MAX_BYTES

    def decode(text: str) -> bytes:
        # base64 is a third longer than what it holds, so this refuses an oversized image before decoding it.
        if len(text) > (limit + 2) // 3 * 4:
            raise PydanticCustomError("too_large", f"holds more than {limit} bytes")
        try:
            data = base64.b64decode(text.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError) as error:
            raise PydanticCustomError("not_base64", "is not base64 (RFC 4648, standard alphabet, padded)") from error
        if len(data) > limit:
            raise PydanticCustomError("too_large", f"holds more than {limit} bytes")
        if not is_image(data):
            raise PydanticCustomError("not_an_image", "is not a PNG, JPEG, GIF or WebP image")
        return data

    return schemas.no_info_after_validator_function(decode, schemas.str_schema(strict=True))


def is_image(data: bytes) -> bool:
    """Say whether ``data`` begins as one of the formats that are taken does; its first 16 bytes are enough."""
    return data.startswith(_IMAGE_STARTS) or (data[:4] == b"RIFF" and data[8:12] == b"WEBP")


def _bound(field: FieldSpec, value: Any) -> Any:
    """Return a minimum or maximum as a canonical Python value."""
    if value is None:
        return None
    schema = {"decimal": decimal_schema, "timestamp": timestamp_schema}[field.type](field.without_bounds())
    return SchemaValidator(schema).validate_python(value)
