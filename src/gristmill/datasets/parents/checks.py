"""The rules of what a contract says of its parents, one function for each part."""

import sys
from collections.abc import Callable, Generator, Iterator

from gristmill.core.errors import Violation
from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.parents.spec import LimitSpec, ParentSpec
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.base import NUMBER

MOST_PARENTS = 10
MOST_LIMITS = 20
FindContract = Callable[[str], Contract | None]
"""Returns the contract of the dataset of a name, None where there is none."""


def check_parents(contract: Contract, find: FindContract) -> Iterator[Violation]:
    """Yield what is wrong with the parents of an otherwise valid contract, seen beside the datasets that there are."""
    if len(contract.parents) > MOST_PARENTS:
        reason = f"{len(contract.parents)} parents are too many: a dataset has at most {MOST_PARENTS}"
        yield Violation("/parents", "too_many", reason, field="parents")
        return
    seen: set[str] = set()
    for index, parent in enumerate(contract.parents):
        pointer = f"/parents/{index}"
        if parent.field in seen:
            reason = f"{shorten(parent.field)} is the field of another parent already"
            yield Violation(f"{pointer}/field", "duplicate", reason, field=parent.field)
        seen.add(parent.field)
        yield from _check_parent(contract, parent, pointer, find)


def _check_parent(contract: Contract, parent: ParentSpec, pointer: str, find: FindContract) -> Iterator[Violation]:
    if not contract.has_field(parent.field):
        valid = ", ".join(field.name for field in contract.fields)[:400]
        reason = f"There is no field {shorten(parent.field)}; the fields are: {valid}"
        yield Violation(f"{pointer}/field", "unknown_field", reason, field=parent.field)
        return
    field = contract.field(parent.field)
    if not TYPES[field.type].may_be_key:
        reason = f"{field.name} is of type {field.type}, and no key has a field of this type"
        yield Violation(f"{pointer}/field", "wrong_type", reason, field=field.name)
        return
    if parent.dataset == contract.name:
        reason = f"{contract.name} cannot be its own parent: the parents of a dataset are above it, never in a circle"
        yield Violation(f"{pointer}/dataset", "cycle", reason, field=parent.field)
        return
    above = find(parent.dataset)
    if above is None:
        reason = f"There is no dataset {shorten(parent.dataset)}: create the parent's dataset first"
        yield Violation(f"{pointer}/dataset", "unknown_dataset", reason, field=parent.field)
        return
    circle = find_circle(contract.name, above, find)
    if circle:
        reason = f"The parents would form a circle: {' -> '.join([contract.name, *circle])}"
        yield Violation(f"{pointer}/dataset", "cycle", reason, field=parent.field)
        return
    yield from _check_key(field, above, pointer)
    if above.keep is not None:
        reason = f"Records of {above.name} are deleted by age (keep {above.keep}), which would leave children behind"
        yield Violation(f"{pointer}/dataset", "parent_expires", reason, field=parent.field)
    if parent.on_rename == "cascade" and (reader := _reader_of(contract, field)):
        reason = f"{reader} is made of {field.name}, and is not made anew when the parent's key changes: refuse that"
        yield Violation(f"{pointer}/on_rename", "not_applicable", reason, field=field.name)
    if len(parent.limits) > MOST_LIMITS:
        reason = f"{len(parent.limits)} limits are too many: a parent has at most {MOST_LIMITS}"
        yield Violation(f"{pointer}/limits", "too_many", reason, field="limits")
        return
    for number, limit in enumerate(parent.limits):
        yield from _check_limit(contract, above, limit, f"{pointer}/limits/{number}")


def find_circle(name: str, above: Contract, find: FindContract) -> list[str]:
    """Return the datasets on a way from ``above`` up to ``name``, both included; empty where there is none."""
    ways = {above.name: [above.name]}
    waiting = [above]
    while waiting and name not in ways:
        present = waiting.pop()
        # Each dataset once, however many ways lead to it.
        for other in dict.fromkeys(parent.dataset for parent in present.parents):
            if other not in ways and (further := find(other)) is not None:
                ways[other] = [*ways[present.name], other]
                waiting.append(further)
    return ways.get(name, [])


def _check_key(field: FieldSpec, above: Contract, pointer: str) -> Iterator[Violation]:
    if len(above.key) != 1:
        how = f"of {len(above.key)} fields ({', '.join(above.key)})" if above.key else "no key"
        reason = f"{above.name} has a key {how}" if above.key else f"{above.name} has no key"
        reason += ": a parent's dataset has a key of one field, which is what the children name"
        yield Violation(f"{pointer}/dataset", "not_one_key_field", reason, field=field.name)
        return
    key = above.field(above.key[0])
    if key.type != field.type:
        reason = f"{field.name} is of type {field.type}, and the key of {above.name} ({key.name}) is of type {key.type}"
        yield Violation(f"{pointer}/field", "wrong_type", reason, field=field.name)
    elif key.normalize != field.normalize:
        reason = (
            f"normalize of {field.name} is {field.normalize or 'null'}, and that of the key of {above.name} "
            f"({key.name}) is {key.normalize or 'null'}: both have to be the same, so that equal names are found equal"
        )
        yield Violation(f"{pointer}/field", "other_normal_form", reason, field=field.name)


def _reader_of(contract: Contract, field: FieldSpec) -> str | None:
    """Return what is made of a field, in words, or None. Any step may read any column of what clients send."""
    if contract.embedding is not None and field.name in (contract.embedding.from_ or ()):
        return "The vector"
    if field.computed:
        return "The field itself"
    return "What a step computes" if any(field.name in str(step.as_json()) for step in contract.pipeline) else None


def _check_limit(contract: Contract, above: Contract, limit: LimitSpec, pointer: str) -> Iterator[Violation]:
    measures = limit.measures
    if len(measures) != 1 or limit.count is False:
        named = ", ".join(measures) or "none"
        reason = f"A limit has one measure, of sum, count (true), min and max; this one has {named}"
        yield Violation(pointer, "one_measure", reason, field="limits")
        return
    if (limit.at_most is None) == (limit.at_least is None):
        reason = "A limit has one bound, at_most or at_least"
        yield Violation(pointer, "one_bound", reason, field="limits")
        return
    if not limit.is_upper and limit.adds_up:
        reason = f"at_least does not go with {limit.measure}: a parent begins without children"
        yield Violation(f"{pointer}/at_least", "not_applicable", reason, field="limits")
    if (limit.is_upper and limit.measure == "min") or (not limit.is_upper and limit.measure == "max"):
        reason = f"{limit.measure} goes with at_{'least' if limit.is_upper else 'most'}: a limit holds for every child"
        yield Violation(f"{pointer}/at_{'most' if limit.is_upper else 'least'}", "not_applicable", reason)
    measured = yield from _check_measured(contract, limit, pointer)
    if measured is not None:
        yield from _check_bound(above, limit, measured, pointer)


def _check_measured(contract: Contract, limit: LimitSpec, pointer: str) -> Generator[Violation, None, str | None]:
    """Yield what is wrong with what is measured; return what it is measured as, or None."""
    if limit.measure == "count":
        return NUMBER
    place = f"{pointer}/{limit.measure}"
    if not contract.has_field(limit.field or ""):
        valid = ", ".join(field.name for field in contract.fields)[:400]
        yield Violation(place, "unknown_field", f"There is no field {shorten(limit.field)}; the fields are: {valid}")
        return None
    field = contract.field(limit.field or "")
    kind = TYPES[field.type].limited_as
    if kind is None or (limit.measure == "sum" and kind != NUMBER):
        fits = [
            one for one in TYPES.values() if one.limited_as and (limit.measure != "sum" or one.limited_as == NUMBER)
        ]
        reason = f"{field.name} is of type {field.type}: {limit.measure} takes {', '.join(one.name for one in fits)}"
        yield Violation(place, "wrong_type", reason, field=field.name)
        return None
    if limit.measure == "sum" and not _is_never_negative(field):
        reason = (
            f"{field.name} may be negative, so that taking a child away could break the limit: "
            "give the field a minimum of 0 or more"
        )
        yield Violation(place, "may_be_negative", reason, field=field.name)
    return kind


def _is_never_negative(field: FieldSpec) -> bool:
    return field.minimum is not None and TYPES[field.type].bound(field, field.minimum) >= 0


def _check_bound(above: Contract, limit: LimitSpec, measured: str, pointer: str) -> Iterator[Violation]:
    member = "at_most" if limit.is_upper else "at_least"
    place, bound = f"{pointer}/{member}", limit.bound
    if not isinstance(bound, str):
        number = isinstance(bound, int | float) and not isinstance(bound, bool)
        # Neither infinite, nor not a number, nor with hundreds of digits.
        plain = number and abs(bound) <= sys.float_info.max
        if not plain or measured != NUMBER:
            what = "a number or " if measured == NUMBER else ""
            reason = f"{member} takes {what}the name of a field of {above.name}, not {shorten(bound)}"
            yield Violation(place, "wrong_type", reason, field="limits")
        return
    if not above.has_field(bound):
        valid = ", ".join(field.name for field in above.fields)[:400]
        reason = f"{above.name} has no field {shorten(bound)}; its fields are: {valid}"
        yield Violation(place, "unknown_field", reason, field=bound[:80])
        return
    kind = above.field(bound).type
    if TYPES[kind].limited_as != measured:
        reason = f"{bound} of {above.name} is of type {kind}, which is not compared with a {measured}"
        yield Violation(place, "wrong_type", reason, field=bound)
