"""The rules of what people are told of a dataset and its fields, and of ``enum`` and ``default``."""

import json
from collections.abc import Iterator
from typing import Any

from pydantic_core import ValidationError

from gristmill.core.errors import Violation
from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.validators import enum_values

# Characters of each.
MAX_TEXTS = {"title": 200, "description": 10_000, "unit": 50}
MAX_ENUM = 1000
# Bytes as JSON: a record of two bytes may take on as much as that for each field.
MAX_DEFAULT_BYTES = 1024


def check_texts(thing: Any, pointer: str, name: str) -> Iterator[Violation]:
    """Yield what is wrong with the title, description and unit of a contract or a field. name: of the field, or ""."""
    for member, most in MAX_TEXTS.items():
        text = getattr(thing, member, None)
        if text is None:
            continue
        where = f"{pointer}/{member}"
        if "\0" in text:
            yield Violation(where, "nul", f"{member} holds a NUL character, which Postgres cannot store", field=name)
        elif len(text) > most:
            reason = f"{member} has {len(text)} characters: at most {most} are allowed"
            yield Violation(where, "too_long", reason, field=name)


def check_values(field: FieldSpec, pointer: str) -> Iterator[Violation]:
    """Yield what is wrong with the enum and the default of a field whose other limits are valid."""
    found = list(_check_enum(field, f"{pointer}/enum"))
    yield from found
    if field.default is not None and not found:
        yield from _check_default(field, f"{pointer}/default")


def _check_enum(field: FieldSpec, pointer: str) -> Iterator[Violation]:
    if field.enum is None:
        return
    kind, seen = TYPES[field.type], set()
    if not kind.comparable:
        valid = ", ".join(name for name, other in TYPES.items() if other.comparable)
        reason = f"enum does not apply to {field.type}, only to: {valid}"
        yield Violation(pointer, "not_applicable", reason, field=field.name)
        return
    if not 1 <= len(field.enum) <= MAX_ENUM:
        reason = f"enum lists {len(field.enum)} values: it has 1 to {MAX_ENUM}"
        yield Violation(pointer, "too_many" if field.enum else "empty", reason, field=field.name)
        return
    plain = field.model_copy(update={"enum": None, "default": None})
    for index, value in enumerate(field.enum):
        where = f"{pointer}/{index}"
        try:
            parsed = kind.parse(plain, value)
        except ValidationError as error:
            code, reason = kind.explain(plain, error.errors()[0])
            if value is None:
                reason = "null is no value of an enum: a field that is not required may be null in any case"
            yield Violation(where, code, reason, field=field.name)
            continue
        if parsed in seen:
            yield Violation(where, "duplicate", f"enum lists {shorten(value)} twice", field=field.name)
        seen.add(parsed)


def _check_default(field: FieldSpec, pointer: str) -> Iterator[Violation]:
    kind = TYPES[field.type]
    if not (kind.comparable or kind.nests):
        valid = ", ".join(name for name, other in TYPES.items() if other.comparable or other.nests)
        reason = f"default does not apply to {field.type}, only to: {valid}"
        yield Violation(pointer, "not_applicable", reason, field=field.name)
        return
    if field.computed:
        reason = f"{field.name} is computed: the pipeline fills it, so it has no default"
        yield Violation(pointer, "not_applicable", reason, field=field.name)
        return
    size = len(json.dumps(field.default, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    if size > MAX_DEFAULT_BYTES:
        reason = f"default has {size} bytes as JSON: at most {MAX_DEFAULT_BYTES} are allowed"
        yield Violation(pointer, "too_long", reason, field=field.name)
        return
    try:
        kind.parse(field, field.default)
    except ValidationError as error:
        code, reason = kind.explain(field, error.errors()[0])
        yield Violation(pointer, code, f"default: {reason}", field=field.name)


def enum_narrowed(before: FieldSpec, after: FieldSpec) -> str | None:
    """Return why the enum of ``after``, a change of ``before``, would not be valid for records that are there."""
    if after.enum is None:
        return None
    kind = TYPES[after.type]
    if before.enum is None:
        return "enum cannot be put on a field that has none: records that are there may have other values"
    kept = set(enum_values(kind, after))
    shown = zip(before.enum, enum_values(kind, after.model_copy(update={"enum": before.enum})), strict=True)
    missing = [shorten(value) for value, parsed in shown if parsed not in kept]
    if not missing:
        return None
    return f"enum lacks {', '.join(missing[:10])}, which records may have: values can only be added"
