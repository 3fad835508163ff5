"""Which Arrow types a column of each contract type may have; a table of ``docs/types.md``."""

import pyarrow as pa

from gristmill.datasets.contract import FieldSpec

_TEXT = "string"
_WAYS = {
    "text": _TEXT,
    "integer": "int8 to int64 or uint8 to uint64",
    "float": "double, float, halffloat or an integer type",
    "decimal": "decimal128, decimal256 (of at most 38 digits after the point), an integer type, or string",
    "boolean": "bool",
    "timestamp": "timestamp with a time zone, or string",
    "date": "date32, date64, or string",
    "uuid": "fixed_size_binary[16], the extension arrow.uuid, or string",
    "json": "string (of JSON text), or the extension arrow.json",
    "vector": "list or fixed_size_list of double, float, halffloat or integers",
    "image": "binary, or string (of base64)",
}


def accepted_columns(field: FieldSpec) -> str:
    """Return a phrase that says which Arrow types a column for ``field`` may have."""
    if field.type == "timestamp" and field.zone:
        return f"timestamp (without a time zone: in the zone {field.zone}), or string"
    if field.type == "vector":
        return f"{_WAYS['vector']}, of {field.dimensions} numbers each"
    return _WAYS[field.type]


def is_accepted(field: FieldSpec, kind: pa.DataType) -> bool:
    """Say whether a column of type ``kind`` can hold valid values of ``field``."""
    if isinstance(kind, pa.BaseExtensionType):
        return kind.extension_name == f"arrow.{field.type}" and field.type in ("uuid", "json")
    if pa.types.is_dictionary(kind):
        # A dictionary of lists would have to be written out, whatever its size; no common writer makes one.
        return not pa.types.is_nested(kind.value_type) and is_accepted(field, kind.value_type)
    if pa.types.is_null(kind):
        return True
    match field.type:
        case "integer":
            return bool(pa.types.is_integer(kind))
        case "float":
            return _is_number(kind)
        case "boolean":
            return bool(pa.types.is_boolean(kind))
        case "decimal":
            fits = pa.types.is_decimal128(kind) or pa.types.is_decimal256(kind)
            fits = fits and 0 <= kind.scale <= 38
            return fits or bool(pa.types.is_integer(kind)) or _is_text(kind)
        case "timestamp":
            has_zone = pa.types.is_timestamp(kind) and (kind.tz is not None or field.zone is not None)
            return has_zone or _is_text(kind)
        case "date":
            return bool(pa.types.is_date(kind)) or _is_text(kind)
        case "uuid":
            return bool(kind == pa.binary(16)) or _is_text(kind)
        case "vector":
            fixed = pa.types.is_fixed_size_list(kind) and kind.list_size == field.dimensions
            varies = pa.types.is_list(kind) or pa.types.is_large_list(kind)
            return bool(fixed or varies) and _is_number(kind.value_type)
        case "image":
            binary = pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
            return bool(binary) or _is_text(kind)
        case _:
            return _is_text(kind)


def storage_type(kind: pa.DataType) -> pa.DataType:
    """Return the type that columns of ``kind`` are turned into before they are judged; it holds the same values."""
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    return kind


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
