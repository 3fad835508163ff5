"""Puts children and parents into the records of a read, level by level: one query for each relation of a level."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.parents.relations import Relation, all_above, all_below
from gristmill.records.read.nested.errors import ExpandedTooLarge
from gristmill.records.read.nested.repository import count_related, read_related
from gristmill.records.read.nested.request import Expand
from gristmill.records.read.shape import Record, RecordShape

CHILDREN, PARENTS = "_children", "_parents"


@dataclass(slots=True)
class Node:
    """A record of the answer. values: canonical values, by the names of fields. places: where it stands in it."""

    record: Record
    values: sa.RowMapping
    places: int = 1


Level = dict[str, list[Node]]
"""The records of one level by the names of their datasets. A record may be there several times."""


class Nesting:
    """Nests what ``expand`` asks for into records. embedding, zone: as of RecordShape, for all that is nested.

    most: how many records may be nested; one that stands in several places counts in each.
    """

    def __init__(
        self, connection: Connection, expand: Expand, most: int, embedding: bool = False, zone: str | None = None
    ) -> None:
        self._connection = connection
        self._expand = expand
        self._most = most
        self._embedding, self._zone = embedding, zone
        self._count = 0

    def nest(self, contract: Contract, records: Sequence[Record], rows: Iterable[Any]) -> None:
        """Add members to ``records``, all of one dataset. rows: theirs, with the fields that ``needed`` names.

        Raises ExpandedTooLarge.
        """
        nodes = [Node(record, row._mapping) for record, row in zip(records, rows, strict=True)]
        if self._expand.children:
            below: dict[str, list[Relation]] = defaultdict(list)
            for relation in all_below(self._connection, contract):
                below[relation.parent.name].append(relation)
            self._descend({contract.name: nodes}, below)
        if self._expand.parents:
            above: dict[str, list[Relation]] = defaultdict(list)
            for relation in all_above(self._connection, contract):
                above[relation.child.name].append(relation)
            self._ascend({contract.name: nodes}, above)

    def _descend(self, level: Level, below: Mapping[str, list[Relation]]) -> None:
        for _ in range(self._expand.depth):
            further: Level = defaultdict(list)
            for name, nodes in level.items():
                relations = below.get(name, [])
                members = _members(relations)
                for node in nodes:
                    node.record[CHILDREN] = {member: [] for member in members}
                for member, relation in zip(members, relations, strict=True):
                    further[relation.child.name] += self._children(relation, member, nodes)
            level = further

    def _children(self, relation: Relation, member: str, nodes: Sequence[Node]) -> list[Node]:
        """Put the children that a relation gives into ``nodes``, and return them."""
        key, field = relation.parent.key[0], relation.spec.field
        by_key: dict[Any, list[Node]] = defaultdict(list)
        for node in nodes:
            by_key[node.values[key]].append(node)
        found = []
        for record, values in self._read(relation.child, field, by_key):
            parents = by_key[values[field]]
            for parent in parents:
                parent.record[CHILDREN][member].append(record)
            found.append(Node(record, values, sum(parent.places for parent in parents)))
        self._add(sum(node.places for node in found))
        return found

    def _ascend(self, level: Level, above: Mapping[str, list[Relation]]) -> None:
        for _ in range(self._expand.depth):
            further: Level = defaultdict(list)
            for name, nodes in level.items():
                for node in nodes:
                    node.record[PARENTS] = {}
                for relation in above.get(name, []):
                    further[relation.parent.name] += self._parents(relation, nodes)
            level = further

    def _parents(self, relation: Relation, nodes: Sequence[Node]) -> list[Node]:
        """Put the parents that a relation gives into ``nodes``, and return them."""
        key, field = relation.parent.key[0], relation.spec.field
        keys = dict.fromkeys(node.values[field] for node in nodes if node.values[field] is not None)
        found = {values[key]: Node(record, values, 0) for record, values in self._read(relation.parent, key, keys)}
        for node in nodes:
            parent = found.get(node.values[field])
            node.record[PARENTS][field] = None if parent is None else parent.record
            if parent is not None:
                parent.places += node.places
        self._add(sum(node.places for node in found.values()))
        return list(found.values())

    def _read(self, contract: Contract, field: str, keys: Iterable[Any]) -> Iterable[tuple[Record, sa.RowMapping]]:
        """Return the records whose field has one of the values, with their canonical values."""
        listed = list(keys)
        if not listed:
            return []
        shape = RecordShape(contract, self._embedding, zone=self._zone)
        left = self._most - self._count
        rows = read_related(self._connection, contract, shape, field, listed, left + 1)
        if len(rows) > left:
            self._add(count_related(self._connection, contract, shape, field, listed))
        return [(shape.to_json(row), row._mapping) for row in rows]

    def _add(self, count: int) -> None:
        self._count += count
        if self._count > self._most:
            raise ExpandedTooLarge(
                f"{self._count} records and what is nested in them would be nested in this answer: at most {self._most}"
                " are possible (reads.max_expanded); ask for fewer records, or for a smaller depth",
                records=self._count,
                max_records=self._most,
            )


def needed(contract: Contract, expand: Expand) -> list[str]:
    """Return the fields that the records of a read are nested by."""
    return [*(contract.key[:1] if expand.children else ()), *(contract.parent_fields if expand.parents else ())]


def _members(relations: Sequence[Relation]) -> list[str]:
    """Return what the lists of children are called: by their dataset; and by the field too where it has several."""
    names = [relation.child.name for relation in relations]
    return [
        f"{name}.{relation.spec.field}" if names.count(name) > 1 else name
        for name, relation in zip(names, relations, strict=True)
    ]
