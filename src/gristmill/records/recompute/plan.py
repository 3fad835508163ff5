"""Which steps make computed fields anew of what is stored."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from gristmill.core.errors import Violation
from gristmill.datasets.contract import Contract
from gristmill.datasets.pipeline import is_stored_as_seen
from gristmill.records.errors import InputNotStored
from gristmill.transforms.spec import Step


@dataclass(frozen=True, slots=True)
class RecomputePlan:
    """steps: those that contribute to the fields, in their order. reads: stored fields that they need."""

    steps: Sequence[Step]
    reads: frozenset[str]


def plan_fields(contract: Contract, steps: Sequence[Step], fields: Collection[str]) -> RecomputePlan:
    """Return how computed ``fields`` are made of stored ones. Raises InputNotStored where they cannot be.

    A column that a step reads is stored if it is a field and no later step writes it: then what is stored is what the
    step would see. Fields that are not asked for are taken as they are stored.
    """
    needed, reads, chosen = set(fields), set[str](), list[Step]()
    for number in reversed(range(len(steps))):
        step = steps[number]
        made = step.writes & needed
        if not made:
            continue
        if step.kind.multiplies:
            raise _not_stored(
                f"{min(made)} is made by {step.kind.op}, which makes several rows of one record", min(made)
            )
        chosen.append(step)
        needed -= step.writes
        for name in sorted(step.reads):
            written = [earlier for earlier in range(number) if name in steps[earlier].writes]
            if is_stored_as_seen(contract, steps, number, name) and not (name in fields and written):
                reads.add(name)
            elif written:
                needed.add(name)
            else:
                reason = f"{', '.join(sorted(made))} cannot be made anew: the step {step.kind.op} needs {name}"
                raise _not_stored(f"{reason}, which is not stored as it was sent", name)
    return RecomputePlan(chosen[::-1], frozenset(reads))


def _not_stored(reason: str, name: str) -> InputNotStored:
    violation = Violation("/fields", InputNotStored.code, reason, field=name)
    hint = "; name the fields that can be made of what is stored"
    return InputNotStored(reason + hint, errors=[violation.as_json()], errors_total=1)
