"""SQL of what goes with deleted parents: one statement finds all that goes, level by level, and deletes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.parents.relations import Relation


@dataclass(frozen=True, slots=True)
class Left:
    """Children that would be left without their parent: the first such parent, how many they are, the first one's key.

    parent: canonical. first: in the order of the child's key, empty for a dataset without one.
    """

    relation: Relation
    parent: Any
    count: int
    first: tuple[Any, ...]


def find_left(
    connection: Connection, root: Contract, condition: sa.ColumnElement[bool], relations: Sequence[Relation]
) -> Left | None:
    """Return the first children that would be left, if records went with all that goes with them; None for none.

    condition: of the records of ``root`` that are to go. relations: all below it, parents first.
    """
    going = _going(root, condition, relations)
    for relation in relations:
        if relation.spec.on_delete == "cascade" or relation.parent.name not in going:
            continue
        table, above = record_table(relation.child), going[relation.parent.name]
        query = sa.select(above.c["key"]).join_from(table, above, table.c[relation.spec.field] == above.c["key"])
        if relation.child.name in going:
            gone = going[relation.child.name]
            query = query.where(~sa.exists().where(gone.c["_id"] == table.c["_id"]))
        found = connection.execute(_first(query, table, above.c["key"], relation.child)).first()
        if found is not None:
            return Left(relation, found[0], found[1], tuple(found[2:]))
    return None


def find_named(connection: Connection, relation: Relation, key: Any) -> Left | None:
    """Return the children of the parent with this key; None if it has none."""
    table = record_table(relation.child)
    field = table.c[relation.spec.field]
    found = connection.execute(_first(sa.select(field).where(field == key), table, field, relation.child)).first()
    return None if found is None else Left(relation, found[0], found[1], tuple(found[2:]))


def _first(query: sa.Select[Any], table: sa.Table, parent: sa.ColumnElement[Any], child: Contract) -> sa.Select[Any]:
    """Return the query of (parent, its children, the key of the first one) made of one for (parent) of each child."""
    key = [table.c[name] for name in child.key]
    total = sa.func.count().over(partition_by=parent)
    return query.add_columns(total, *key).order_by(parent, *key).limit(1)


def delete_all(
    connection: Connection,
    root: Contract,
    condition: sa.ColumnElement[bool],
    relations: Sequence[Relation],
    *,
    keep_root: bool = False,
) -> dict[str, int]:
    """Delete records with all that goes with them; return how many of each dataset. Parameters as of ``find_left``.

    keep_root: delete what is below them alone, as somebody else deletes them.
    """
    contracts = {root.name: root} | {relation.child.name: relation.child for relation in relations}
    going = _going(root, condition, relations)
    names = [name for name in going if name != root.name or not keep_root]
    if not names:
        return {}
    counts = []
    for number, name in enumerate(names):
        table = record_table(contracts[name])
        gone = sa.delete(table).where(table.c["_id"].in_(sa.select(going[name].c["_id"])))
        deleted = gone.returning(sa.literal(1).label("one")).cte(f"deleted{number}")
        counts.append(sa.select(sa.func.count()).select_from(deleted).scalar_subquery())
    return dict(zip(names, connection.execute(sa.select(*counts)).one(), strict=True))


def _going(root: Contract, condition: sa.ColumnElement[bool], relations: Sequence[Relation]) -> dict[str, sa.CTE]:
    """Return what goes, ``_id`` and the key that children name, by the names of datasets, parents first.

    A record may go for several parents: it is found once.
    """
    found = {root.name: sa.select(*_columns(root)).where(condition).cte("going0")}
    for name, group in groupby(relations, lambda relation: relation.child.name):
        ways = []
        for relation in group:
            if relation.spec.on_delete == "cascade" and relation.parent.name in found:
                table, above = record_table(relation.child), found[relation.parent.name]
                on = table.c[relation.spec.field] == above.c["key"]
                ways.append(sa.select(*_columns(relation.child)).join_from(table, above, on))
        if ways:
            found[name] = (ways[0] if len(ways) == 1 else sa.union(*ways)).cte(f"going{len(found)}")
    return found


def _columns(contract: Contract) -> list[sa.ColumnElement[Any]]:
    table = record_table(contract)
    key = [table.c[contract.key[0]].label("key")] if len(contract.key) == 1 else []
    return [table.c["_id"], *key]
