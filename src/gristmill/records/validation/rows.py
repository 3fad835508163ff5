"""Validation of records against a contract: one compiled pydantic schema per contract, errors as places.

The same schema judges JSON text, CSV cells (as the JSON values they stand for) and the changes of a PATCH.
"""

from collections.abc import Sequence
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any

import pyarrow as pa
from pydantic_core import CoreSchema, SchemaValidator, ValidationError
from pydantic_core import core_schema as schemas

from gristmill.core.errors import MAX_LISTED, Invalid, Malformed, Violation
from gristmill.datasets.contract import EXTRA_COLUMN, Contract, FieldSpec, UnknownFields
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.json import MAX_DEPTH as JSON_DEPTH
from gristmill.datasets.types.validators import default_value, value_schema
from gristmill.kit.json_pointer import escape_pointer, pointer_to
from gristmill.records.columns import Row, to_given_table, to_table
from gristmill.records.validation import unknown as unknown_members
from gristmill.records.validation.depth import json_depth
from gristmill.records.validation.tokens import Location, explain_broken, read_tokens, token_at, unreadable

# A record with more errors than this is reported as one: listing a million unknown members would need gigabytes.
MAX_ERRORS_PER_RECORD = 200
# Levels of brackets in the JSON text of a record: a value of type json has its own limit in every format.
MAX_DEPTH = JSON_DEPTH + 1
MALFORMED = "malformed"


class Problems:
    """What is wrong with a batch: the first 100 places, and the total.

    rejected: how many records were given away with their errors, and are no problem of the batch.
    """

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.total = 0
        self.rejected = 0
        self.malformed = False

    def add(self, *violations: Violation, total: int | None = None) -> None:
        """Add the places of one record; ``total`` counts errors of it that have no place of their own."""
        self.total += len(violations) if total is None else total
        self.violations.extend(violations[: max(0, MAX_LISTED - len(self.violations))])
        self.malformed = self.malformed or any(violation.code == MALFORMED for violation in violations)

    def raise_if_any(self) -> None:
        """Raise Malformed if something could not be read, Invalid if something does not fit the contract."""
        if not self.total:
            return
        what = "error" if self.total == 1 else "errors"
        first = self.violations[0]
        where = f"line {first.line}" if first.line is not None else f"record {first.record}"
        if first.line is None and first.record is None:
            where = "the body"
        kind = Malformed if self.malformed else Invalid
        detail = f"{self.total} {what}, the first in {where}: {first.reason}; nothing was stored"
        raise kind(detail, self.violations, self.total)


class RecordValidator:
    """Validates records of certain columns; made once per dataset version and shared by threads.

    A valid record is a dict with every column, absent ones as their default or None, canonical values otherwise.
    """

    def __init__(
        self,
        contract: Contract,
        columns: Sequence[FieldSpec] | None = None,
        computed: frozenset[str] = frozenset(),
        partial: bool = False,
        unknown: UnknownFields = "reject",
    ) -> None:
        """columns: what a record has; by default what clients send. computed: names that are refused as computed.

        partial: a record needs to give its key alone, and a valid one is a dict of what it gives. unknown: what is done
        with members that are none of the columns.
        """
        self.contract = contract
        self.columns = columns = contract.input_columns if columns is None else columns
        self._computed = computed
        self.partial = partial
        self.unknown = unknown
        # An _extra that is collected holds values that nest as deeply as those beside it.
        self._has_extra = contract.unknown_fields == "collect"
        self.max_depth = MAX_DEPTH + 1 if self._has_extra else MAX_DEPTH
        self._fields: dict[str, FieldSpec] = {column.name: column for column in columns}
        # What clients may call a column besides, and its name.
        self.sent_names = {one.sent_as: one.name for one in columns if one.sent_as is not None}
        self._schemas = {name: value_schema(TYPES[field.type], field) for name, field in self._fields.items()}
        if self._has_extra and EXTRA_COLUMN in self._schemas:
            self._schemas[EXTRA_COLUMN] = unknown_members.extra_schema()
        self.may_nest = unknown != "reject" or any(TYPES[field.type].nests for field in columns)
        record = self._schema(self._schemas, partial, unknown)
        self._record = SchemaValidator(record)
        self._array = SchemaValidator(schemas.list_schema(record))

    @property
    def fields(self) -> dict[str, FieldSpec]:
        """The members that a record may have, by name."""
        return self._fields

    def name_of(self, sent: str) -> str:
        """Return the name of the column that clients call ``sent``; of what is no column that is ``sent``."""
        return self.sent_names.get(sent, sent)

    def must_be_given(self, field: FieldSpec) -> bool:
        """Whether every record has to name the field, be it as null."""
        return field.name in self.contract.key if self.partial else field.must_be_given

    def to_table(self, rows: Sequence[Row]) -> pa.Table:
        """Return valid records as payload columns."""
        return to_given_table(self.columns, rows) if self.partial else to_table(self.columns, rows)

    def unknown_member(self, name: str, reason: str) -> tuple[str, str] | None:
        """Return (code, reason) for a member that is no column and that a record may not have; None if it may.

        reason: where there is no field called so.
        """
        if name in self._computed:
            return "computed_field", f"{name} is computed by the pipeline, so no client may send it"
        if self.unknown == "reject":
            return "unknown_field", reason
        if name in unknown_members.RESERVED:
            hint = "a list of rejects is sent with retry_of, the job that they are of"
            return "reserved_name", f"{name} is a name that Gristmill uses itself, and no field: leave it out; {hint}"
        return unknown_members.name_mistake(name)

    @cached_property
    def extra(self) -> SchemaValidator:
        """Validates ``_extra`` and the members that are no columns, alone, where they are collected."""
        return SchemaValidator(self._schema({EXTRA_COLUMN: self._schemas[EXTRA_COLUMN]}, True, self.unknown))

    def validate_json(self, raw: bytes) -> Row:
        """Return the record in the JSON text ``raw``. Raises pydantic_core.ValidationError; see ``violations``."""
        return self._record.validate_json(raw)  # type: ignore[no-any-return]

    def validate_json_array(self, raw: bytes) -> list[Row]:
        """Return the records in the JSON array ``raw``: the short way for small bodies without errors."""
        return self._array.validate_json(raw)  # type: ignore[no-any-return]

    def validate_python(self, record: Row) -> Row:
        """Return the record made of the JSON-like values of ``record``. Raises pydantic_core.ValidationError."""
        return self._record.validate_python(record)  # type: ignore[no-any-return]

    def validate_changes(self, raw: bytes) -> Row:
        """Return the canonical values of the members in ``raw``, a JSON object of changed fields.

        Raises Malformed, and Invalid for values that the contract refuses, and for no change at all.
        """
        problems = Problems()
        changes: Row = {}
        depth = json_depth(raw)
        if depth > self.max_depth:
            reason = f"The body is nested {depth} levels deep: at most {self.max_depth} are allowed"
            problems.add(Violation("", "too_deep", reason))
        else:
            try:
                changes = self._changes.validate_json(raw)
                if not changes:
                    problems.add(Violation("", "empty", "There are no changes: name at least one field"))
            except ValidationError as error:
                violations, total = self.violations(error, raw=raw)
                problems.add(*violations, total=total)
        problems.raise_if_any()
        return changes

    @cached_property
    def _changes(self) -> SchemaValidator:
        return SchemaValidator(self._schema(self._schemas, partial=True, needs_key=False))

    def violations(
        self,
        error: ValidationError,
        prefix: str = "",
        record: int | None = None,
        line: int | None = None,
        raw: bytes = b"",
        tokens: Any = None,
    ) -> tuple[list[Violation], int]:
        """Return the places of a ValidationError and how many errors they stand for.

        prefix: JSON pointer of the record. record, line: where the record stands in the request. raw: its JSON text,
        or ``tokens`` what ``read_tokens`` would return of it, so that numbers are shown as they were sent.
        """
        count = error.error_count()
        if count > MAX_ERRORS_PER_RECORD:
            return [Violation(prefix, "too_many_errors", f"The record has {count} errors", record, line)], count
        tokens = read_tokens(raw) if raw else tokens
        items = error.errors(include_url=False)
        if items[0]["type"] == "json_invalid":
            found = [
                Violation(
                    prefix + pointer_to(shorten_name(str(part)) for part in place),
                    code,
                    reason,
                    record,
                    line,
                    _field_of(place),
                )
                for place, code, reason in islice(unreadable(tokens), MAX_LISTED)
            ]
            return found or [_broken(raw, str(items[0]["msg"]), prefix, record, line)], max(1, len(found))
        return [self._place(item, prefix, record, line, tokens) for item in items], count

    def _place(self, item: Any, prefix: str, record: int | None, line: int | None, tokens: Any) -> Violation:
        location = item["loc"]
        if self._has_extra:
            found = unknown_members.place_of(item, self._fields, token_at(tokens, location))
            if found is not None:
                path, code, reason = found
                parts = [shorten_name(part) for part in path]
                return Violation(prefix + pointer_to(parts), code, reason, record, line, parts[0] if parts else None)
        if not location:
            return Violation(prefix, "wrong_type", f"{shorten(item['input'])} is not a JSON object", record, line)
        name = str(location[0])
        pointer = f"{prefix}/{escape_pointer(shorten_name(name))}"
        field = self._fields.get(self.name_of(name))
        if field is None:
            known = ", ".join(self._fields)
            reason = f"There is no field {shorten(name)} in {self.contract.name}; its fields are: {known}"
            code, reason = self.unknown_member(name, reason) or ("unknown_field", reason)
            return Violation(pointer, code, reason, record, line, shorten_name(name))
        token = token_at(tokens, location)
        if item["type"] == "extra_forbidden":
            reason = f"{shorten(name)} and {field.name} are names of one field: give one of them"
            return Violation(pointer, "duplicate", reason, record, line, field.name)
        code, reason = TYPES[field.type].explain(field, item if token is None else {**item, "token": token})
        inside = "".join(f"/{part}" for part in location[1:] if isinstance(part, int))
        return Violation(pointer + inside, code, reason, record, line, field.name)

    def _schema(
        self,
        known: dict[str, CoreSchema],
        partial: bool = False,
        unknown: UnknownFields = "reject",
        needs_key: bool = True,
    ) -> CoreSchema:
        members = {}
        for name, schema in known.items():
            field = self._fields[name]
            nullable = schema if field.required else schemas.nullable_schema(schema)
            needed = (needs_key and name in self.contract.key) if partial else field.must_be_given
            if not field.must_be_given and not partial:
                default = default_value(TYPES[field.type], field)
                nullable = schemas.with_default_schema(nullable, default=default)
            # A name that is not tried costs nothing: most fields have one only.
            names: list[list[str | int]] | None = [[name], [field.sent_as]] if field.sent_as is not None else None
            members[name] = schemas.typed_dict_field(nullable, required=needed, validation_alias=names)
        return unknown_members.record_schema(members, unknown, self._computed - self.sent_names.keys())


@lru_cache(maxsize=1000)
def validator_of(contract: Contract) -> RecordValidator:
    """Return the validator of what clients send to a dataset; making one takes a millisecond, so it is kept."""
    return RecordValidator(contract, computed=contract.computed_fields, unknown=contract.unknown_fields)


@lru_cache(maxsize=1000)
def partial_validator_of(contract: Contract) -> RecordValidator:
    """Return the validator of what clients send to be merged: the key, and whatever fields they give."""
    return RecordValidator(contract, None, contract.computed_fields, True, contract.unknown_fields)


@lru_cache(maxsize=1000)
def output_validator_of(contract: Contract) -> RecordValidator:
    """Return the validator of what the pipeline of a dataset made, without ``_extra``, which passes beside it."""
    if not contract.has_pipeline and contract.unknown_fields == "reject":
        return validator_of(contract)
    return RecordValidator(contract, [one for one in contract.output_columns if one.name != EXTRA_COLUMN])


@lru_cache(maxsize=1000)
def changes_validator_of(contract: Contract) -> RecordValidator:
    """Return the validator of changes of stored records: of all that is stored but the computed fields."""
    if not contract.has_pipeline:
        return validator_of(contract)
    columns = [column for column in contract.output_columns if not column.computed]
    return RecordValidator(contract, columns, contract.computed_fields)


def _broken(raw: bytes, message: str, prefix: str, record: int | None, line: int | None) -> Violation:
    code = "too_deep" if "recursion limit" in message else MALFORMED
    return Violation(prefix, code, explain_broken(raw, message), record, line)


def _field_of(place: Location) -> str | None:
    return shorten_name(str(place[0])) if place else None


def shorten_name(name: str) -> str:
    """Return a member name that a user wrote, cut to what a message can show."""
    return name if len(name) <= 80 else name[:79] + "…"
