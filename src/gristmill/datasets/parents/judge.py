"""Whether parents are there and their limits hold, and the errors that say which is not so."""

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection

from gristmill.core.errors import Violation
from gristmill.datasets.describe import shorten
from gristmill.datasets.parents.errors import LimitExceeded, ParentMissing
from gristmill.datasets.parents.relations import Relation
from gristmill.datasets.parents.repository.usage import (
    EXACT,
    WRITTEN,
    Usage,
    find_broken,
    find_lowered,
    find_orphan,
    find_present,
    read_usage,
)
from gristmill.datasets.types import TYPES

Place = Callable[[Any], int | None]
"""Returns which record of a request names a parent, by the key of that; None where no request does."""


def check_children(
    connection: Connection, relation: Relation, keys: Sequence[Any], seq: int, place: Place = lambda _: None
) -> None:
    """Check that parents are there and that their limits hold, after children were written by the job ``seq``.

    keys: of the parents that the written children name. Raises ParentMissing, LimitExceeded.
    """
    if not relation.spec.limits:
        check_present(connection, relation, keys, place, lock=True)
        return
    ordered = sorted(set(keys))
    found = dict(read_usage(connection, relation, ordered, WRITTEN, {"seq": seq}, lock=True))
    for number, key in enumerate(ordered):
        if number not in found:
            raise missing(relation, key, place(key))
    for usages in found.values():
        for usage in usages:
            if usage.is_broken:
                raise exceeded(relation, usage, place(usage.parent))


def check_present(connection: Connection, relation: Relation, keys: Sequence[Any], place: Place, *, lock: bool) -> None:
    """Check that parents are there. Raises ParentMissing."""
    found = find_present(connection, relation, keys, lock=lock)
    if len(found) < len(keys):
        for key in sorted(set(keys) - found):
            raise missing(relation, key, place(key))


def check_parents_of(
    connection: Connection, relation: Relation, keys: Sequence[Any], place: Place = lambda _: None
) -> None:
    """Check that the limits hold, after parents with these keys were written. Raises LimitExceeded."""
    for _, usages in read_usage(connection, relation, sorted(set(keys)), lock=True):
        for usage in usages:
            if usage.is_broken:
                raise lowered(relation, usage, place(usage.parent))


def check_table(connection: Connection, relation: Relation, seq: int | None = None) -> None:
    """Check every child there is, or the parents of all that the job ``seq`` wrote. Raises as ``check_children``."""
    orphan = find_orphan(connection, relation)
    if orphan is not None:
        raise missing(relation, orphan, None)
    check_measured(connection, relation, seq)


def check_measured(connection: Connection, relation: Relation, seq: int | None) -> None:
    """Check the limits of all parents whose children the job ``seq`` wrote, None for all. Raises LimitExceeded."""
    broken = find_broken(connection, relation, seq)
    if broken is not None:
        raise exceeded(relation, broken, None)


def check_bounds(connection: Connection, relation: Relation, seq: int) -> None:
    """Check the limits of all parents that the job ``seq`` wrote. Raises LimitExceeded."""
    broken = find_lowered(connection, relation, seq)
    if broken is not None:
        raise lowered(relation, broken, None)


def missing(relation: Relation, key: Any, record: int | None) -> ParentMissing:
    """Return the error of a child whose parent is not there."""
    shown = TYPES[relation.key.type].to_json(key)
    reason = f"{relation.parent.name} has no record with the key {shorten(shown)}, which {relation.spec.field} names"
    violation = _violation(relation.spec.field, ParentMissing.code, reason, record)
    extra = {"parent": {"dataset": relation.parent.name, "key": shown}}
    return ParentMissing(_at(record) + reason, errors=[violation.as_json()], errors_total=1, **extra)


def exceeded(relation: Relation, usage: Usage, record: int | None) -> LimitExceeded:
    """Return the error of children that ask for more than is left."""
    limit, parts = usage.limit, _parts(relation, usage)
    reason = f"{_children(relation, parts)}: the {limit.describe()} ({parts['value']}), and "
    if limit.adds_up:
        reason += f"{parts['used']} are used, {parts['asked']} are asked for, {_left(usage)} are left"
    else:
        reason += f"{parts['asked']} is asked for"
    violation = _violation(limit.field or relation.spec.field, LimitExceeded.code, reason, record)
    return LimitExceeded(_at(record) + reason, errors=[violation.as_json()], errors_total=1, **parts)


def lowered(relation: Relation, usage: Usage, record: int | None) -> LimitExceeded:
    """Return the error of a parent whose bound would be beyond what its children have."""
    limit, parts = usage.limit, _parts(relation, usage)
    reason = f"{_children(relation, parts)}: the {limit.describe()}, and they have {parts['used']}: "
    reason += f"{parts['value']} is too {'little' if limit.is_upper else 'much'}"
    field = limit.bound if isinstance(limit.bound, str) else None
    violation = _violation(field, LimitExceeded.code, reason, record)
    return LimitExceeded(_at(record) + reason, errors=[violation.as_json()], errors_total=1, **parts)


def _children(relation: Relation, parts: dict[str, Any]) -> str:
    return f"{relation.child.name} of {relation.parent.name} {shorten(parts['parent']['key'])}"


def _parts(relation: Relation, usage: Usage) -> dict[str, Any]:
    """Return the members of a problem: limit, parent, value (of the bound), used, asked."""
    zero = 0 if usage.limit.adds_up else None
    return {
        "limit": usage.limit.model_dump(),
        "parent": {
            "dataset": relation.parent.name,
            "key": TYPES[relation.key.type].to_json(usage.parent),
        },
        "children": relation.child.name,
        "value": _number(usage.bound),
        "used": _number(zero if usage.used is None else usage.used),
        "asked": _number(zero if usage.asked is None else usage.asked),
    }


def _left(usage: Usage) -> Any:
    return _number(max(EXACT.subtract(usage.bound, usage.used or 0), Decimal(0)))


def _number(value: Any) -> Any:
    """Return a value as JSON: whole numbers as such, others exactly, as texts."""
    if isinstance(value, Decimal):
        return int(value) if value.is_finite() and value == value.to_integral_value() else format(value, "f")
    return value if value is None or isinstance(value, int) else str(value)


def _at(record: int | None) -> str:
    return "" if record is None else f"Record {record}: "


def _violation(field: str | None, code: str, reason: str, record: int | None) -> Violation:
    name = field or ""
    pointer = f"/{name}" if record is None else f"/{record}/{name}"
    return Violation(pointer, code, reason, record, field=field)
