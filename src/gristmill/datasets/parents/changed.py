"""What has to be looked at after fields of records were changed: their parents and limits, and those of their children.

A relation none of whose fields were touched is not looked at.
"""

from collections.abc import Collection
from typing import Any

from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.parents.judge import (
    check_bounds,
    check_children,
    check_measured,
    check_parents_of,
    check_table,
)
from gristmill.datasets.parents.relations import Relation, Relations
from gristmill.datasets.parents.spec import ParentSpec


def check_record(
    connection: Connection,
    relations: Relations,
    dataset: Dataset,
    key: tuple[Any, ...],
    values: dict[str, Any],
    touched: Collection[str],
    seq: int,
) -> None:
    """Check one record of which the job ``seq`` has changed the fields ``touched``.

    key, values: canonical, as they are now; values: of its parents' fields. Raises ParentMissing, LimitExceeded.
    """
    for relation in _touched_above(connection, relations, dataset, touched):
        parent = values[relation.spec.field]
        if parent is not None:
            check_children(connection, relation, [parent], seq)
    if dataset.hierarchy:
        for relation in touched_below(connection, relations, dataset.contract, touched):
            check_parents_of(connection, relation, [key[0]])


def check_records(
    connection: Connection,
    relations: Relations,
    dataset: Dataset,
    values: dict[str, Any],
    touched: Collection[str],
    seq: int,
) -> None:
    """Check all records whose fields ``touched`` the job ``seq`` has changed. Raises ParentMissing, LimitExceeded.

    values: the canonical values that all of them have been given alike; fields without one each record has its own of.
    """
    for relation in _touched_above(connection, relations, dataset, touched):
        name = relation.spec.field
        if name not in values:
            check = check_table if name in touched else check_measured
            # Records without a key do not tell who has written them.
            check(connection, relation, seq if dataset.contract.key else None)
        elif values[name] is not None:
            check_children(connection, relation, [values[name]], seq)
    if dataset.hierarchy:
        for relation in touched_below(connection, relations, dataset.contract, touched):
            check_bounds(connection, relation, seq)


def check_followers(
    connection: Connection, relations: Relations, child: Contract, fields: Collection[str], seq: int
) -> None:
    """Check children whose fields the job ``seq`` has given the new keys of their parents, which they stay with.

    They use as much of those as before, unless a limit measures the field itself, or is bound by it. Raises
    LimitExceeded.
    """
    if any(not spec.measured_fields.isdisjoint(fields) for spec in child.parents):
        for relation in relations.above(connection, child):
            if not relation.spec.measured_fields.isdisjoint(fields):
                check_measured(connection, relation, seq if child.key else None)
    if len(child.key) == 1:
        for relation in touched_below(connection, relations, child, fields):
            check_bounds(connection, relation, seq)


def touched_parents(contract: Contract, touched: Collection[str]) -> list[ParentSpec]:
    """Return the parents of a child that a change of these fields of it has to be compared with."""
    return [spec for spec in contract.parents if spec.is_touched_by(touched)]


def touched_below(
    connection: Connection, relations: Relations, contract: Contract, touched: Collection[str]
) -> list[Relation]:
    """Return the relations to children that a change of these fields of a parent may break."""
    below = relations.below(connection, contract)
    return [relation for relation in below if not relation.spec.bound_fields.isdisjoint(touched)]


def _touched_above(
    connection: Connection, relations: Relations, dataset: Dataset, touched: Collection[str]
) -> list[Relation]:
    specs = touched_parents(dataset.contract, touched)
    return [one for one in relations.of(connection, dataset) if one.spec in specs] if specs else []
