"""The key of one record, as it stands in a URL."""

from typing import Any

from pydantic_core import ValidationError, from_json

from gristmill.core.errors import Conflict, Invalid, Violation
from gristmill.datasets.contract_parser import Contract, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES


class NoKey(Conflict):
    """The dataset has no key, so none of its records can be named."""

    code = "no_key"
    title = "The dataset has no key"


def parse_key(contract: Contract, text: str) -> tuple[Any, ...]:
    """Return the canonical values of the key ``text`` (percent-decoded), in the order of the contract's key.

    A key of one field is the value as a CSV cell has it; a key of several fields is a JSON array of their values.
    Raises NoKey, and Invalid with a Violation for every value that the contract would refuse.
    """
    fields = _fields(contract)
    if len(fields) == 1:
        return _values(fields, [TYPES[fields[0].type].from_text(fields[0], text)], "/path/key")
    try:
        values = from_json(text, allow_inf_nan=False)
    except ValueError:
        values = text
    return check_key(contract, values, "/path/key")


def check_key(contract: Contract, key: Any, pointer: str) -> tuple[Any, ...]:
    """Return the canonical values of ``key`` as parsed JSON has it: one value, or an array for a key of several fields.

    pointer: where the key stands in the request. Raises as ``parse_key`` does.
    """
    fields = _fields(contract)
    if len(fields) == 1:
        return _values(fields, [key], pointer)
    if not isinstance(key, list) or len(key) != len(fields):
        names = ", ".join(contract.key)
        reason = f"{shorten(key)} is not a key of {contract.name}: give a JSON array of {len(fields)} values, [{names}]"
        raise Invalid(reason, [Violation(pointer, "bad_key", reason)])
    return _values(fields, key, pointer)


def check_keys(contract: Contract, keys: Any, most: int) -> list[tuple[Any, ...]]:
    """Return the canonical keys of the list in a body. Raises NoKey; Invalid with what is wrong, a hundred at most."""
    if not isinstance(keys, list):
        reason = f"keys takes a list, not {shorten(keys)}"
        raise Invalid(reason, [Violation("/keys", "wrong_type", reason, field="keys")])
    if len(keys) > most:
        reason = f"{len(keys)} keys are too many: a request has at most {most}"
        raise Invalid(reason, [Violation("/keys", "too_many", reason, field="keys")])
    parsed: list[tuple[Any, ...]] = []
    violations: list[Violation] = []
    for index, key in enumerate(keys):
        try:
            parsed.append(check_key(contract, key, f"/keys/{index}"))
        except Invalid as error:
            violations += error.violations
    if violations:
        raise Invalid(f"The keys are not valid: {violations[0].reason}", violations)
    return parsed


def show_key(contract: Contract, values: tuple[Any, ...]) -> Any:
    """Return the key as JSON: the value of a single field, else the array of values."""
    shown = [TYPES[field.type].to_json(value) for field, value in zip(contract.key_fields, values, strict=True)]
    return shown[0] if len(shown) == 1 else shown


def _fields(contract: Contract) -> tuple[FieldSpec, ...]:
    if not contract.key:
        raise NoKey(f"The dataset {contract.name} has no key: its records can be listed, but not named one by one")
    return contract.key_fields


def _values(fields: tuple[FieldSpec, ...], values: list[Any], pointer: str) -> tuple[Any, ...]:
    parsed: list[Any] = []
    violations: list[Violation] = []
    for field, value in zip(fields, values, strict=True):
        kind = TYPES[field.type]
        try:
            # A key is looked up, not stored: no record has a key with a value beyond the limits.
            parsed.append(kind.parse(field.without_bounds(), value))
        except ValidationError as error:
            code, reason = kind.explain(field, error.errors()[0])
            violations.append(Violation(pointer, code, f"{field.name}: {reason}", field=field.name))
    if violations:
        raise Invalid(f"The key is not valid: {violations[0].reason}", violations)
    return tuple(parsed)
