"""Children whose parent gets another key: they follow it, or keep it from getting one.

A field has one parent, and children are named by one field: so all that follows a rename, at whatever depth, holds the
old key and gets the new one.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from pydantic_core import ValidationError
from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.parents.relations import Relation
from gristmill.datasets.parents.removal import children_left
from gristmill.datasets.parents.repository.removal import find_named
from gristmill.datasets.parents.repository.renaming import count_named, move_children
from gristmill.datasets.types import TYPES

Keys = tuple[Any, Any]
"""The key that a parent has, and the one that it is to have."""


def refuse_rename(connection: Connection, root: Contract, keys: Keys, relations: Sequence[Relation]) -> None:
    """Raise ChildrenLeft where children of a record of ``root`` do not follow it to another key.

    relations: all below ``root``, parents first.
    """
    for relation in _named(root, relations):
        refuses = relation.spec.on_rename == "refuse"
        if refuses or not _fits(relation, keys[1]):
            left = find_named(connection, relation, keys[0])
            if left is not None and refuses:
                raise children_left(left, "cannot get another key", "give these another parent, or delete them, first")
            if left is not None:
                field = relation.child.field(relation.spec.field)
                what = f"cannot be called {shorten(TYPES[field.type].to_json(keys[1]))}"
                valid = TYPES[field.type].describe(field)
                raise children_left(left, what, f"their field {field.name} takes {valid}")


def follow(
    connection: Connection, root: Contract, keys: Keys, relations: Sequence[Relation], seq: int
) -> dict[str, tuple[Contract, frozenset[str], int]]:
    """Let children follow a record that has its new key by now, and theirs follow them.

    Returns, by the name of each dataset that has such children, its contract, the fields that were changed and in how
    many records. seq: the number of the job.
    """
    moved: dict[str, tuple[Contract, frozenset[str], int]] = {}
    for name, group in groupby(_named(root, relations), lambda relation: relation.child.name):
        followers = [relation for relation in group if relation.spec.on_rename == "cascade"]
        if followers:
            fields = frozenset(relation.spec.field for relation in followers)
            child = followers[0].child
            count = move_children(connection, child, sorted(fields), keys, seq)
            if count:
                moved[name] = (child, fields, count)
    return moved


def has_many(connection: Connection, root: Contract, old: Any, relations: Sequence[Relation], most: int) -> bool:
    """Say whether more than ``most`` children follow a record of ``root`` from its key ``old``."""
    following = [relation for relation in _named(root, relations) if relation.spec.on_rename == "cascade"]
    return sum(count_named(connection, relation, old, most + 1) for relation in following) > most


def _named(root: Contract, relations: Sequence[Relation]) -> Iterator[Relation]:
    """Yield the relations whose children name the record: those of ``root``, and of children that follow with their
    own keys."""
    renamed = {root.name}
    for relation in relations:
        if relation.parent.name in renamed:
            yield relation
            if relation.spec.on_rename == "cascade" and relation.child.key == (relation.spec.field,):
                renamed.add(relation.child.name)


def _fits(relation: Relation, key: Any) -> bool:
    field = relation.child.field(relation.spec.field)
    kind = TYPES[field.type]
    try:
        return bool(kind.parse(field, kind.to_json(key)) == key)
    except ValidationError:
        return False
