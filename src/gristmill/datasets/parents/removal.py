"""Records that go with their parents, and parents that stay for their children."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.keys import show_key
from gristmill.datasets.parents.errors import ChildrenLeft
from gristmill.datasets.parents.relations import Relation
from gristmill.datasets.parents.repository.removal import Left, delete_all, find_left


def refuse_left(
    connection: Connection, root: Contract, condition: sa.ColumnElement[bool], relations: Sequence[Relation]
) -> None:
    """Raise ChildrenLeft where children keep a record that is to go, and do not go by another way themselves.

    condition: of the records of ``root`` that are to go. relations: all below it, parents first.
    """
    if any(relation.spec.on_delete == "refuse" for relation in relations):
        left = find_left(connection, root, condition, relations)
        if left is not None:
            raise children_left(left, "cannot be deleted", "delete these first")


def remove(
    connection: Connection,
    root: Contract,
    condition: sa.ColumnElement[bool],
    relations: Sequence[Relation],
    *,
    keep_root: bool = False,
) -> tuple[int, dict[str, int]]:
    """Delete records and all that goes with them; return how many, and how many of each dataset below lost any.

    Parameters as of ``refuse_left``. keep_root: they are deleted by somebody else. Raises ChildrenLeft.
    """
    refuse_left(connection, root, condition, relations)
    counts = delete_all(connection, root, condition, relations, keep_root=keep_root)
    deleted = counts.pop(root.name, 0)
    return deleted, {name: count for name, count in counts.items() if count}


def children_left(left: Left, what: str, advice: str) -> ChildrenLeft:
    """Return the error of a parent that its children keep. what: is not possible. advice: what would make it so."""
    relation = left.relation
    key = show_key(relation.parent, (left.parent,))
    first = show_key(relation.child, left.first) if left.first else None
    children = "1 child" if left.count == 1 else f"{left.count} children"
    shown = "" if first is None else f" ({'' if left.count == 1 else 'the first is '}{shorten(first)})"
    reason = f"{shorten(key)} of {relation.parent.name} {what}: it has {children} in {relation.child.name}{shown}"
    return ChildrenLeft(
        f"{reason}; {advice}",
        parent={"dataset": relation.parent.name, "key": key},
        children=relation.child.name,
        count=left.count,
        first=first,
    )
