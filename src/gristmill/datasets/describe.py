"""Sentences about values for people: what a field takes, and why a value was refused."""

import json
from collections.abc import Mapping
from typing import Any

from gristmill.datasets.contract import DEFAULT_MAX_BYTES, DEFAULT_MAX_LENGTH, FLOAT16_MAX, FieldSpec

MAX_SHOWN = 80

# pydantic's error types, as the stable codes of our own; types not named here are our own codes already.
_CODES = {
    "missing": "missing",
    "extra_forbidden": "unknown_field",
    "string_too_long": "too_long",
    "string_unicode": "bad_unicode",
    "greater_than_equal": "out_of_range",
    "less_than_equal": "out_of_range",
    "finite_number": "not_finite",
    "too_short": "wrong_length",
    "too_long": "wrong_length",
    "date_parsing": "not_a_date",
    "date_from_datetime_parsing": "not_a_date",
    "datetime_parsing": "not_a_timestamp",
    "datetime_from_date_parsing": "not_a_timestamp",
    "uuid_parsing": "not_a_uuid",
}
_PATTERN_CODES = {"text": "nul", "uuid": "not_a_uuid", "date": "not_a_date", "timestamp": "not_a_timestamp"}


def shorten(value: Any) -> str:
    """Return ``value`` as JSON would show it, cut to 80 characters."""
    try:
        # Cut before printing too: a refused value may be as large as the whole body.
        text = json.dumps(value[: 4 * MAX_SHOWN] if isinstance(value, str) else value, ensure_ascii=False, default=str)
    except (ValueError, TypeError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"


def describe(field: FieldSpec) -> str:
    """Return a phrase that says what ``field`` takes, such as "an integer from 0 to 10"."""
    bounds = _bounds(field)
    match field.type:
        case "text":
            return f"text of at most {field.max_length or DEFAULT_MAX_LENGTH} characters without NUL"
        case "integer":
            return f"an integer{bounds}" if bounds else "an integer from -2^63 to 2^63-1"
        case "float":
            return f"a finite number{bounds}"
        case "decimal":
            if field.precision is None:
                return f"a decimal number{bounds}, as a string or an integer, of at most 38 digits"
            digits = f"{field.precision - (field.scale or 0)} digits before and {field.scale or 0} after the point"
            return f"a decimal number{bounds}, as a string or an integer, with at most {digits}"
        case "boolean":
            return "true or false"
        case "timestamp":
            offset = f"(without an offset: in the zone {field.zone})" if field.zone else "with an offset"
            return f"an ISO 8601 timestamp {offset}{bounds}, to the microsecond, such as 2026-01-31T12:00:00Z"
        case "date":
            return f"a date YYYY-MM-DD{bounds}"
        case "uuid":
            return "a UUID such as 0192f0c2-7d3a-7000-8000-0123456789ab"
        case "json":
            return "a JSON value without NUL, nested at most 32 levels deep"
        case "vector":
            return f"a list of {field.dimensions} finite numbers that fit 32-bit floats"
        case "image":
            limit = field.max_bytes or DEFAULT_MAX_BYTES
            return f"a base64 string of a PNG, JPEG, GIF or WebP image of at most {limit} bytes"


def _bounds(field: FieldSpec) -> str:
    if field.minimum is not None and field.maximum is not None:
        return f" from {field.minimum} to {field.maximum}"
    if field.minimum is not None:
        return (
            f" of at least {field.minimum}" if field.type not in ("timestamp", "date") else f" from {field.minimum} on"
        )
    if field.maximum is not None:
        return f" of at most {field.maximum}" if field.type not in ("timestamp", "date") else f" up to {field.maximum}"
    return ""


def explain(field: FieldSpec, error: Mapping[str, Any]) -> tuple[str, str]:
    """Return (stable code, sentence) for one item of a pydantic ``ValidationError.errors()`` about ``field``.

    The sentence shows the value, shortened, and what would be valid.
    """
    kind, value = error["type"], error.get("input")
    if kind == "missing":
        return "missing", f"The required field {field.name} is missing: expected {describe(field)}"
    location = error.get("loc", ())
    in_vector = field.type == "vector" and bool(location) and isinstance(location[-1], int)
    if value is None and in_vector:
        return "null", f"Number {location[-1]} of the list is null: expected a finite number that fits a 32-bit float"
    if value is None:
        return "null", f"null is not allowed: the field is required and takes {describe(field)}"
    shown, expected = shorten(value), describe(field)
    if in_vector:
        expected = "a finite number that fits a 32-bit float"
        if error.get("ctx", {}).keys() & {"ge", "le"} and max(map(abs, error["ctx"].values())) == FLOAT16_MAX:
            expected = "a number from -65504 to 65504, which halfvec holds"
        shown = f"number {location[-1]} of the list, {shown},"
    if kind == "string_pattern_mismatch":
        return _PATTERN_CODES.get(field.type, "invalid"), f"{shown} is not {expected}"
    if kind.endswith("_type"):
        return "wrong_type", f"{shown} is not {expected}"
    if kind in _CODES:
        return _CODES[kind], f"{shown} is not {expected}"
    return kind, f"{shown} {error['msg']}: expected {expected}"
