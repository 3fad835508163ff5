"""Changes of records whose dataset has a pipeline: what may be changed, and what is computed anew from it."""

import json
from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pyarrow as pa

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract import Contract
from gristmill.datasets.types import TYPES
from gristmill.kit.json_pointer import escape_pointer
from gristmill.records.changes.plan import Plan, plan_change
from gristmill.records.columns import Row, to_table
from gristmill.records.errors import InputNotStored, RecomputeNeeded, RecordUnfit
from gristmill.records.transform import Pipelines
from gristmill.records.validation.rows import changes_validator_of
from gristmill.transforms.run import run
from gristmill.transforms.spec import StepContext


class Recompute:
    """Reads the changes of a PATCH and works out the computed fields that depend on them."""

    def __init__(self, pipelines: Pipelines) -> None:
        self._pipelines = pipelines

    def read_changes(self, contract: Contract, raw: bytes) -> Row:
        """Return the canonical values of the members in ``raw``, a JSON object of stored fields.

        Raises Malformed, Invalid, and InputNotStored where something that is not stored is named or needed.
        """
        try:
            changes = changes_validator_of(contract).validate_changes(raw)
        except Invalid as error:
            unstored = {field.name for field in contract.input_fields if not contract.has_field(field.name)}
            for violation in error.violations:
                if violation.field in unstored:
                    reason = f"{violation.field} is not stored, so it cannot be changed: submit the record anew"
                    raise _not_stored(reason, violation.field or "") from error
            raise
        self.plan(contract, changes)
        return changes

    def read_shared_changes(self, contract: Contract, changes: Any) -> Row:
        """Return the canonical values of changes that many records get, all the same, in the members of ``changes``.

        Raises Invalid, InputNotStored, and RecomputeNeeded where more of each record would have to be read for it: for
        a computed field, or for a vector that other fields are part of.
        """
        try:
            found = self.read_changes(contract, json.dumps(changes).encode())
        except Invalid as error:
            places = [replace(one, pointer=f"/changes{one.pointer}") for one in error.violations]
            raise Invalid(error.detail, places, error.total) from error
        keys = [name for name in contract.key if name in found]
        if keys:
            reason = f"{keys[0]} is a field of the key, and no two records have the same: change it of each by itself"
            raise Invalid(
                reason, [Violation(f"/changes/{escape_pointer(keys[0])}", "key_field", reason, field=keys[0])]
            )
        needed = self.plan(contract, found).writes
        sources = embedding_sources(contract)
        needed |= sources - set(found) if sources & set(found) else frozenset()
        if needed:
            reason = f"What is changed is part of what {', '.join(sorted(needed))} is made of or with, record by record"
            raise RecomputeNeeded(f"{reason}: submit the changes with mode=merge")
        return found

    def check_merge(self, contract: Contract) -> None:
        """Raise InputNotStored where whole records cannot be made of stored ones: what was sent is not all stored."""
        steps = self._pipelines.steps(contract)
        for step in steps:
            if not step.per_record:
                reason = (
                    f"The step {step.kind.op} takes a batch as a whole, so records cannot be merged: submit them whole"
                )
                raise _not_stored(reason, "")
        overwritten = frozenset[str]().union(*(step.writes for step in steps))
        for field in contract.input_fields:
            if not contract.has_field(field.name) or field.name in overwritten:
                reason = f"{field.name} is not stored as it was sent, so records cannot be merged: submit them whole"
                raise _not_stored(reason, field.name)

    def plan(self, contract: Contract, changed: Collection[str]) -> Plan:
        """Return what becomes of a change of these fields. Raises InputNotStored where that cannot be worked out."""
        return plan_change(contract, self._pipelines.steps(contract), changed)

    def complete(self, contract: Contract, plan: Plan, changes: Row, stored: Row) -> Row:
        """Return ``changes`` with the fields that the pipeline makes of them. stored: what the plan reads.

        Raises RecordUnfit if what it makes does not fit.
        """
        if not plan.steps:
            return changes
        known = {name: value for name, value in {**stored, **changes}.items() if contract.has_field(name)}
        made = run(
            plan.steps, to_table([contract.field(name) for name in known], [known]), StepContext(), wanted=plan.columns
        )
        for failed in made.failed:
            assert failed.step is not None
            raise RecordUnfit(f"Step {failed.step[0]} ({failed.step[1]}): {failed.reason}", field=failed.field)
        return {**changes, **{name: _value(contract, made.table, name) for name in sorted(plan.writes)}}


def embedding_sources(contract: Contract) -> frozenset[str]:
    """Return the names of the fields that the embedder reads."""
    return frozenset(() if contract.embedding is None else contract.embedding.from_ or ())


def _value(contract: Contract, table: pa.Table, name: str) -> Any:
    """Return the canonical value that the pipeline made of the one record in ``table``."""
    field = contract.field(name)
    value = TYPES[field.type].from_arrow(field, table.column(name)[0])
    if value is None and field.required:
        raise RecordUnfit(f"The pipeline makes no value of {name}, which is required", field=name)
    try:
        return None if value is None else TYPES[field.type].parse(field, value)
    except ValueError as error:
        raise RecordUnfit(f"The pipeline makes {value!r} of it, which does not fit {name}", field=name) from error


def _not_stored(reason: str, name: str) -> InputNotStored:
    violation = Violation(f"/{name}", InputNotStored.code, reason, field=name)
    return InputNotStored(reason, errors=[violation.as_json()], errors_total=1)
