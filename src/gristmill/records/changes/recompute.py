"""Changes of records whose dataset has a pipeline: what may be changed, and what is computed anew from it."""

from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.contract import Contract
from gristmill.datasets.types import TYPES
from gristmill.records.columns import to_table
from gristmill.records.errors import InputNotStored, RecordUnfit
from gristmill.records.transform import Pipelines
from gristmill.records.validation.json_values import read_row
from gristmill.records.validation.rows import Row, changes_validator_of, validator_of
from gristmill.transforms.run import run
from gristmill.transforms.spec import Step, StepContext

Fetch = Callable[[Sequence[str]], Row | None]
"""Reads fields of the stored record as canonical values; None: there is no such record."""


class Recompute:
    """Reads the changes of a PATCH and works out the computed fields that depend on them."""

    def __init__(self, pipelines: Pipelines) -> None:
        self._pipelines = pipelines

    def read_changes(self, contract: Contract, raw: bytes, max_depth: int) -> Row:
        """Return the canonical values of the members in ``raw``, a JSON object of stored fields.

        Raises Malformed, Invalid, and InputNotStored where something that is not stored is named or needed.
        """
        try:
            changes = changes_validator_of(contract).validate_changes(raw, max_depth)
        except Invalid as error:
            unstored = {field.name for field in contract.client_fields if not contract.has_field(field.name)}
            for violation in error.violations:
                if violation.field in unstored:
                    reason = f"{violation.field} is not stored, so it cannot be changed: submit the record anew"
                    raise _not_stored(reason, violation.field or "") from error
            raise
        self._needed(contract, changes)
        return changes

    def complete(self, contract: Contract, changes: Row, fetch: Fetch) -> Row:
        """Return ``changes`` with the fields that the pipeline makes of them.

        Raises RecordUnfit if what it makes does not fit. Without the record the changes are returned as they are.
        """
        steps, needed = self._needed(contract, changes)
        if not steps:
            return changes
        stored = fetch(needed) if needed else {}
        if stored is None:
            return changes
        # What no step reads is null: its columns are there because steps are bound to them.
        known = {**{field.name: None for field in contract.client_fields}, **stored, **changes}
        table = to_table(Contract(name=contract.name, fields=contract.client_fields), [known])
        for column in steps[-1].columns.values():
            if column.name not in table.column_names:
                table = table.append_column(column.name, pa.nulls(1, column.arrow))
        made = run(steps, table, StepContext())
        for failed in made.failed:
            raise RecordUnfit(f"Step {failed.step[0]} ({failed.step[1]}): {failed.reason}", field=failed.field)
        written = frozenset[str]().union(*(step.writes for step in steps))
        return {**changes, **_values(contract, made.table, sorted(written & {field.name for field in contract.fields}))}

    def _needed(self, contract: Contract, changes: Row) -> tuple[list[Step], list[str]]:
        """Return the steps that make something of the changes, and the stored fields that they read beside them."""
        all_steps = self._pipelines.steps(contract)
        overwritten = frozenset[str]().union(*(step.writes & step.reads for step in all_steps))
        known, steps, needed = set(changes), list[Step](), set[str]()
        for step in all_steps:
            if not step.writes or not step.reads & known:
                continue
            for name in sorted(step.reads - known):
                if not contract.has_field(name) or name in overwritten:
                    changed = ", ".join(sorted(step.reads & known))
                    reason = f"{changed} cannot be changed alone: the step {step.kind.op} also needs {name}"
                    raise _not_stored(f"{reason}, which is not stored as it was sent", name)
                needed.add(name)
            known |= step.writes
            steps.append(step)
        return steps, sorted(needed)


def _values(contract: Contract, table: pa.Table, names: Sequence[str]) -> Row:
    validator = validator_of(contract)
    row: dict[str, Any] = read_row(validator, table.select(names), 0)
    made: Row = {}
    for name in names:
        field, value = contract.field(name), row[name]
        if value is None and field.required:
            raise RecordUnfit(f"The pipeline makes no value of {name}, which is required", field=name)
        try:
            read = TYPES[field.type].from_text(field, value) if field.type == "json" and value is not None else value
            made[name] = None if read is None else TYPES[field.type].parse(field, read)
        except ValueError as error:
            raise RecordUnfit(f"The pipeline makes {value!r} of it, which does not fit {name}", field=name) from error
    return made


def _not_stored(reason: str, name: str) -> InputNotStored:
    violation = Violation(f"/{name}", InputNotStored.code, reason, field=name)
    return InputNotStored(reason, errors=[violation.as_json()], errors_total=1)
