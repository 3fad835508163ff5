"""Which steps make computed fields anew: of what is changed, and of what is stored."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gristmill.core.errors import Violation
from gristmill.datasets.contract import Contract
from gristmill.datasets.pipeline import is_stored_as_seen
from gristmill.records.errors import InputNotStored
from gristmill.transforms.spec import Column, Columns, Step


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps that make something anew. reads: stored fields that they need. writes: fields that they fill."""

    steps: Sequence[Step] = ()
    reads: frozenset[str] = frozenset()
    writes: frozenset[str] = frozenset()

    @property
    def columns(self) -> Columns:
        """The fields as the steps leave them."""
        found: dict[str, Column] = {}
        for step in self.steps:
            found |= {name: step.columns[name] for name in self.writes & step.writes}
        return found


def plan_change(contract: Contract, steps: Sequence[Step], changed: Collection[str]) -> Plan:
    """Return what becomes of a change of these fields. Raises InputNotStored where that cannot be worked out."""
    known, affected = set(changed), set[str]()
    for step in steps:
        if step.writes and step.reads & known:
            known |= step.writes
            affected |= step.writes
    fields = {name for name in affected if contract.has_field(name)}
    return _plan(contract, steps, fields, frozenset(changed)) if fields else Plan()


def plan_fields(contract: Contract, steps: Sequence[Step], fields: Collection[str]) -> Plan:
    """Return how computed ``fields`` are made of stored ones. Raises InputNotStored where they cannot be.

    Other fields are taken as they are stored, unless a step makes them together with one that is asked for: then they
    are made anew too.
    """
    try:
        return _plan(contract, steps, set(fields), frozenset())
    except InputNotStored as error:
        hint = "name the fields that can be made of what is stored"
        raise InputNotStored(f"{error.detail}; {hint}", **error.extra) from error


def _plan(contract: Contract, steps: Sequence[Step], fields: set[str], changed: frozenset[str]) -> Plan:
    """Return the plan of ``fields``, and of all others that its steps write: what a step has written is not what is
    stored any more, so that whoever reads it after that needs all steps that make it."""
    while True:
        plan = _plan_once(contract, steps, fields, changed)
        made = {name for step in plan.steps for name in step.writes if contract.has_field(name)}
        if made <= fields:
            return plan
        fields |= made


def _plan_once(contract: Contract, steps: Sequence[Step], fields: Collection[str], changed: frozenset[str]) -> Plan:
    needed, reads, chosen = set(fields), set[str](), list[Step]()
    for step in reversed(steps):
        made = step.writes & needed
        if not made:
            continue
        if step.kind.multiplies or not step.per_record:
            name = min(made)
            what = "makes several rows of one record" if step.per_record else "takes a batch as a whole"
            raise _not_stored(f"{name} is made by {step.kind.op}, which {what}", name)
        chosen.append(step)
        needed -= step.writes
        for name in sorted(step.reads):
            written = any(name in earlier.writes for earlier in steps[: step.number])
            if written and name in fields:
                needed.add(name)
            elif name in changed and not written:
                continue
            elif is_stored_as_seen(contract, steps, step.number, name):
                reads.add(name)
            elif written:
                needed.add(name)
            else:
                reason = f"{', '.join(sorted(made))} cannot be made anew: the step {step.kind.op} needs {name}"
                raise _not_stored(f"{reason}, which is not stored as it was sent", name)
    return Plan(chosen[::-1], frozenset(reads), frozenset(fields))


def _not_stored(reason: str, name: str) -> InputNotStored:
    violation = Violation(f"/{name}", InputNotStored.code, reason, field=name)
    return InputNotStored(reason, errors=[violation.as_json()], errors_total=1)
