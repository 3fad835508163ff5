"""Members of records that are no fields: refused, passed over, or collected as the members of the field ``_extra``."""

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic_core import CoreSchema, PydanticCustomError
from pydantic_core import core_schema as schemas

from gristmill.datasets.contract import (
    EMBEDDING_COLUMN,
    EXTRA_COLUMN,
    EXTRA_FIELD,
    TEXT_COLUMN,
    FieldSpec,
    UnknownFields,
)
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.json import check_text
from gristmill.datasets.types.validators import value_schema
from gristmill.records.columns import GIVEN_COLUMN
from gristmill.records.reject import NOTE_COLUMNS

# Of a record, those within an ``_extra`` that was sent among them.
MAX_MEMBERS = 1000
MAX_NAME = 1000
# What payloads, tables and lists of rejects call their own columns. A list of rejects that is sent without saying what
# it is would be taken for records with these members.
RESERVED = frozenset({EMBEDDING_COLUMN, TEXT_COLUMN, GIVEN_COLUMN, "_seq", "_ord", *NOTE_COLUMNS})

Members = dict[str, Any]
# Where a mistake is, its code and the reason.
Place = tuple[tuple[str, ...], str, str]


def record_schema(
    members: Mapping[str, schemas.TypedDictField], unknown: UnknownFields, computed: Iterable[str]
) -> CoreSchema:
    """Return the schema of a record with ``members``. computed: names that are refused, whatever ``unknown`` says.

    So are reserved ones.
    """
    if unknown == "reject":
        return schemas.typed_dict_schema(dict(members), extra_behavior="forbid")
    refused = schemas.typed_dict_field(schemas.no_info_plain_validator_function(_refuse), required=False)
    known = {**members, **{name: refused for name in (*computed, *RESERVED) if name not in members}}
    if unknown == "ignore":
        return schemas.typed_dict_schema(known, extra_behavior="ignore")

    def collect(record: Members) -> Members:
        if record.keys() <= members.keys():
            return record
        found = {name: value for name, value in record.items() if name not in members}
        record = {name: value for name, value in record.items() if name in members}
        record[EXTRA_COLUMN] = check_members({**(record.get(EXTRA_COLUMN) or {}), **found})
        return record

    values = schemas.nullable_schema(_member_schema())
    open_ = schemas.typed_dict_schema(known, extra_behavior="allow", extras_schema=values)
    return schemas.no_info_after_validator_function(collect, open_)


def extra_schema() -> CoreSchema:
    """Return the schema of ``_extra`` as records have it that were read back: an object, or nothing if it is empty."""
    values = schemas.nullable_schema(_member_schema())
    return schemas.no_info_after_validator_function(
        check_members, schemas.dict_schema(schemas.str_schema(strict=True), values, strict=True)
    )


def check_members(members: Members) -> Members | None:
    """Return what is stored of valid values. Raises PydanticCustomError for too many, and for names."""
    if len(members) > MAX_MEMBERS:
        raise PydanticCustomError("too_many", "{reason}", {"reason": too_many(len(members), "members")})
    for name in members:
        mistake = name_mistake(name)
        if mistake is not None:
            raise PydanticCustomError(mistake[0], "{reason}", {"reason": mistake[1], "member": name})
    return members or None


def name_mistake(name: str) -> tuple[str, str] | None:
    """Return (code, reason) for a name that no member of ``_extra`` may have."""
    if len(name) > MAX_NAME:
        return "too_long", f"The name {shorten(name)} has {len(name)} characters: at most {MAX_NAME} are allowed"
    try:
        check_text(name)
    except PydanticCustomError as error:
        return error.type, f"The name {shorten(name)} {error.message()}"
    return None


def too_many(count: int, what: str) -> str:
    return f"There are {count} {what} that are no fields: at most {MAX_MEMBERS} are allowed"


def place_of(error: Mapping[str, Any], fields: Mapping[str, FieldSpec], token: str | None) -> Place | None:
    """Return the place of an error about what is collected; None for errors about other members.

    error: an item of ``ValidationError.errors()`` of a record of ``fields``. token: the number as it was sent.
    """
    location, context = error["loc"], error.get("ctx") or {}
    top = location[:1] == (EXTRA_COLUMN,)
    if "reason" in context and (not location or top):
        inside = (context["member"],) if "member" in context else ()
        return (*location, *inside), error["type"], context["reason"]
    if not location or (location[0] in fields and not top) or error["type"] in ("extra_forbidden", "computed_field"):
        return None
    if location == (EXTRA_COLUMN,):
        reason = f"{shorten(error['input'])} is not an object: {EXTRA_COLUMN} holds the members that are no fields"
        return location, "wrong_type", reason
    path = location[: 2 if top else 1]
    return path, *TYPES[EXTRA_FIELD.type].explain(EXTRA_FIELD, error if token is None else {**error, "token": token})


def _member_schema() -> CoreSchema:
    return value_schema(TYPES[EXTRA_FIELD.type], EXTRA_FIELD)


def _refuse(value: Any) -> Any:
    raise PydanticCustomError("computed_field", "is computed")
