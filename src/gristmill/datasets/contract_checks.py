"""The rules of contracts, one function for each part; a Violation says what would be valid."""

import json
from collections.abc import Iterator
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from gristmill.core.errors import Violation
from gristmill.datasets.annotation_checks import check_texts, check_values
from gristmill.datasets.contract import EXTRA_COLUMN, EXTRA_FIELD, Contract, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.retention_period import parse_retention_period
from gristmill.datasets.types import TYPES
from gristmill.kit.identifiers import is_name
from gristmill.kit.json_pointer import pointer_to

MAX_FIELDS = 250
# An entry of a B-tree must fit a third of a page (2,704 bytes), with its header and the time field beside the key.
MAX_KEY_BYTES = 2600
# Columns that an index of Postgres may have.
MAX_INDEX_COLUMNS = 32
# Columns that every table of Postgres has already.
POSTGRES_COLUMNS = ("cmax", "cmin", "ctid", "tableoid", "xmax", "xmin")
# Before what indexes and sequences add to the name of their dataset: Postgres has one space of names for all three.
NAME_DIVIDER = "__"
# Members of a filter beside the names of fields; see where.
FILTER_WORDS = ("and", "or", "not")
# The text search configurations that every supported Postgres has.
LANGUAGES = (
    "simple", "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish", "french", "german",
    "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali", "norwegian", "portuguese",
    "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish",
)  # fmt: skip
Model = TypeVar("Model", bound=BaseModel)
# Members of ``_extra`` that users may set.
_EXTRA_MEMBERS = {"members", "title", "description", "unit"}
_NAME_RULE = "a lower-case letter, then up to 47 of a-z, 0-9 and _"

# Which types the limits of fields apply to.
_LIMITS = {
    **{
        member: tuple(name for name, kind in TYPES.items() if member in kind.limits)
        for member in (
            "max_length",
            "normalize",
            "precision",
            "scale",
            "zone",
            "dimensions",
            "max_bytes",
            "stored_as",
            "members",
        )
    },
    **dict.fromkeys(("minimum", "maximum"), tuple(name for name, kind in TYPES.items() if kind.bounded)),
}


def read_field(body: Any, pointer: str) -> FieldSpec | list[Violation]:
    """Return the field that ``body`` describes, its own limits checked, or what is wrong with it."""
    field = read_structure(FieldSpec, body, pointer)
    if isinstance(field, list):
        return field
    return list(check_field(field, pointer)) or field


def read_structure(model: type[Model], body: Any, pointer: str) -> Model | list[Violation]:
    """Check the structure alone: members, and their JSON types."""
    if not isinstance(body, dict):
        return [Violation(pointer, "wrong_type", f"{shorten(body)} is not a JSON object")]
    try:
        # Strict JSON mode takes arrays for tuples, which strict Python mode does not.
        return model.model_validate_json(json.dumps(body))
    except ValidationError as error:
        return [_structure_place(item, pointer) for item in error.errors()]
    except (ValueError, RecursionError) as error:
        return [Violation(pointer, "invalid", f"The object is not plain JSON: {error}")]


def _structure_place(item: Any, pointer: str) -> Violation:
    location = item["loc"]
    if location[:1] == ("input",):
        # Behind the index pydantic says which of both forms it took the item for.
        location = (*location[:2], *location[3:])
    path = pointer + pointer_to(location)
    name = str(item["loc"][-1]) if item["loc"] else ""
    if item["type"] == "missing":
        return Violation(path, "missing", f"The member {name} is missing", field=name)
    if item["type"] == "extra_forbidden":
        return Violation(path, "unknown_member", f"There is no member {shorten(name)} here", field=name)
    if item["type"] == "literal_error":
        valid = str(item["ctx"]["expected"]).replace("'", "")
        return Violation(path, "unknown_value", f"{shorten(item['input'])} is not one of: {valid}", field=name)
    return Violation(path, "wrong_type", f"{shorten(item['input'])} does not fit here: {item['msg']}", field=name)


def with_defaults(field: FieldSpec, contract: Contract) -> FieldSpec:
    return TYPES[field.type].with_defaults(field, indexed=field.name in contract.key or contract.is_indexed(field))


def check_name(name: str) -> Iterator[Violation]:
    """Yield what is wrong with the name of a dataset."""
    if not is_name(name):
        yield Violation("/name", "bad_name", f"{shorten(name)} is not a name: {_NAME_RULE}", field="name")
    elif NAME_DIVIDER in name:
        reason = f"{shorten(name)}: names with {NAME_DIVIDER} are those of indexes and sequences of datasets"
        yield Violation("/name", "reserved_name", reason, field="name")


def check_contract(contract: Contract) -> Iterator[Violation]:
    yield from check_name(contract.name)
    if not contract.fields:
        yield Violation("/fields", "missing", "A dataset needs at least one field", field="fields")
    yield from check_texts(contract, "", "")
    yield from check_size(contract)
    yield from check_names(contract.fields)
    for index, field in enumerate(contract.fields):
        yield from check_field(field, f"/fields/{index}")
    yield from check_indexed(contract)
    if contract.time_field is not None:
        yield from _check_time_field(contract, contract.time_field)
    yield from check_keep(contract)


def check_keep(contract: Contract) -> Iterator[Violation]:
    """Yield what is wrong with the time that records are kept."""
    if contract.keep is None:
        return
    try:
        parse_retention_period(contract.keep)
    except ValueError as error:
        yield Violation("/keep", "bad_keep", f"{shorten(contract.keep)}: {error}", field="keep")
    if contract.time_field is None:
        reason = "keep needs a time field: records are kept for so long from the time in it on"
        yield Violation("/keep", "no_time_field", reason, field="keep")


def check_size(contract: Contract) -> Iterator[Violation]:
    """Yield a violation if the contract has more fields than a table should have columns."""
    if len(contract.fields) > MAX_FIELDS:
        reason = f"{len(contract.fields)} fields are too many: a dataset has at most {MAX_FIELDS}"
        yield Violation("/fields", "too_many", reason, field="fields")


def check_names(fields: tuple[FieldSpec, ...]) -> Iterator[Violation]:
    """Yield a violation for every name that occurs a second time."""
    seen: set[str] = set()
    for index, field in enumerate(fields):
        if field.name in seen:
            reason = f"The name {shorten(field.name)} is used by an earlier field already"
            yield Violation(f"/fields/{index}/name", "duplicate", reason, field=field.name)
        seen.add(field.name)


def check_field(field: FieldSpec, pointer: str) -> Iterator[Violation]:
    """Yield what is wrong with one field taken by itself; ``pointer`` is where the field stands."""

    def violation(member: str, code: str, reason: str) -> Violation:
        return Violation(f"{pointer}/{member}", code, reason, field=field.name)

    if field.name == EXTRA_COLUMN:
        yield from _check_extra(field, pointer)
    elif field.name.startswith("_"):
        yield violation("name", "reserved_name", f"{shorten(field.name)}: names with a leading _ are system columns")
    elif field.name in POSTGRES_COLUMNS:
        reason = f"{shorten(field.name)}: every table of Postgres has columns {', '.join(POSTGRES_COLUMNS)} of its own"
        yield violation("name", "reserved_name", reason)
    elif field.name in FILTER_WORDS:
        yield violation("name", "reserved_name", f"{shorten(field.name)} is a word of the filter language")
    elif not is_name(field.name):
        yield violation("name", "bad_name", f"{shorten(field.name)} is not a name: {_NAME_RULE}")
    kind = TYPES[field.type]
    for member, types in _LIMITS.items():
        if getattr(field, member) not in (None, ()) and field.type not in types:
            yield violation(
                member, "not_applicable", f"{member} does not apply to {field.type}, only to: {', '.join(types)}"
            )
    if field.filterable and not kind.comparable:
        yield violation("filterable", "not_applicable", f"A field of type {field.type} cannot be filterable")
    yield from check_texts(field, pointer, field.name)
    found = [violation(*mistake) for mistake in kind.check(field)]
    if kind.bounded and not found:
        found += _check_bounds(field, pointer)
    yield from found or check_values(field, pointer)


def _check_extra(field: FieldSpec, pointer: str) -> Iterator[Violation]:
    """Yield what is not as Gristmill makes ``_extra``: contracts that were read back have it among their fields."""
    for member in sorted(FieldSpec.model_fields.keys() - _EXTRA_MEMBERS):
        if getattr(field, member) != getattr(EXTRA_FIELD, member):
            place = "name" if member == "type" else member
            reason = (
                f"{EXTRA_COLUMN} is the field that unknown_fields: collect adds: of type {EXTRA_FIELD.type}, optional, "
                f"and with nothing else than {', '.join(sorted(_EXTRA_MEMBERS))}; not with {member} "
                f"{shorten(getattr(field, member))}"
            )
            yield Violation(f"{pointer}/{place}", "reserved_name", reason, field=field.name)


def _check_bounds(field: FieldSpec, pointer: str) -> Iterator[Violation]:
    parsed, kind = {}, TYPES[field.type]
    for member in ("minimum", "maximum"):
        value = getattr(field, member)
        if value is None:
            continue
        try:
            parsed[member] = kind.bound(field, value)
        except ValidationError as error:
            code, reason = kind.explain(field.without_bounds(), error.errors()[0])
            yield Violation(f"{pointer}/{member}", code, f"{member}: {reason}", field=field.name)
    if len(parsed) == 2 and parsed["minimum"] > parsed["maximum"]:
        reason = f"minimum {shorten(field.minimum)} is above maximum {shorten(field.maximum)}: nothing would be valid"
        yield Violation(f"{pointer}/minimum", "out_of_range", reason, field=field.name)


def check_indexed(contract: Contract) -> Iterator[Violation]:
    """Yield what is wrong with the fields of the key and with the filterable ones, whose values go into indexes."""
    positions = {field.name: index for index, field in enumerate(contract.fields)}
    size = 0
    for index, name in enumerate(contract.key):
        pointer = f"/key/{index}"
        if name in contract.key[:index]:
            yield Violation(pointer, "duplicate", f"The key names {shorten(name)} twice", field=name)
        elif name not in positions:
            yield unknown_field(pointer, name, contract)
        else:
            field = contract.fields[positions[name]]
            size += TYPES[field.type].entry_bytes(field)
            if not TYPES[field.type].may_be_key:
                reason = f"A field of type {field.type} cannot be in the key"
                yield Violation(pointer, "not_a_key_type", reason, field=name)
            if not field.required:
                reason = f"The key field {name} must be required: set it on the field"
                yield Violation(f"/fields/{positions[name]}/required", "nullable_key", reason, field=name)
    if size > MAX_KEY_BYTES:
        reason = f"The key may take {size} bytes, more than the {MAX_KEY_BYTES} of an index: lower its max_length"
        yield Violation("/key", "too_long", reason, field="key")
    columns = len({*contract.key, contract.time_field} - {None})
    if contract.key and columns > MAX_INDEX_COLUMNS:
        what = "the key and the time field have" if contract.time_field not in (None, *contract.key) else "the key has"
        reason = f"{what} {columns} fields together, more than the {MAX_INDEX_COLUMNS} of an index"
        yield Violation("/key", "too_many", reason, field="key")
    for field in contract.fields:
        if contract.is_indexed(field) and TYPES[field.type].entry_bytes(field) > MAX_KEY_BYTES:
            most = MAX_KEY_BYTES // 4 - 1
            what = "filterable" if field.filterable else "parent's key of type"
            reason = f"A {what} {field.type} has at most {most} characters, not {field.max_length}"
            yield Violation(f"/fields/{positions[field.name]}/max_length", "too_long", reason, field=field.name)


def unknown_field(pointer: str, name: str, contract: Contract) -> Violation:
    valid = shorten(", ".join(field.name for field in contract.fields)).strip('"')
    return Violation(
        pointer, "unknown_field", f"There is no field {shorten(name)}; the fields are: {valid}", field=name
    )


def _check_time_field(contract: Contract, name: str) -> Iterator[Violation]:
    field = next((field for field in contract.fields if field.name == name), None)
    if field is None:
        yield unknown_field("/time_field", name, contract)
    elif not TYPES[field.type].is_time:
        valid = " or ".join(f"a {kind.name}" for kind in TYPES.values() if kind.is_time)
        reason = f"The time field must be {valid}, and {name} is of type {field.type}"
        yield Violation("/time_field", "wrong_type", reason, field=name)
