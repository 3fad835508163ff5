"""Puts children and parents into the records of a read, level by level: one query for each relation of a level."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from psycopg2.errorcodes import PROGRAM_LIMIT_EXCEEDED
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.datasets.contract import Contract
from gristmill.datasets.parents.relations import Relation, all_above, all_below
from gristmill.records.read.answer import Texts
from gristmill.records.read.nested.errors import ExpandedTooLarge
from gristmill.records.read.nested.repository import count_related, measure_related, read_lists, read_related
from gristmill.records.read.nested.request import Expand
from gristmill.records.read.shape import Record, RecordShape
from gristmill.records.row_bytes import most_bytes

CHILDREN, PARENTS = "_children", "_parents"


@dataclass(slots=True)
class Node:
    """A record of the answer. row: its canonical values. places: in how many places of the answer it stands."""

    record: Record
    row: Sequence[Any]
    places: int = 1


@dataclass(slots=True)
class Level:
    """Records of one dataset that were read together. names: of the values of their rows."""

    names: Sequence[str]
    nodes: list[Node]

    def place(self, field: str) -> int:
        """Return where the values of a field stand in rows."""
        return self.names.index(field)


Levels = dict[str, list[Level]]
"""What stands in one depth, by the names of datasets."""


class Nesting:
    """Nests what ``expand`` asks for into records. embedding, zone: as of RecordShape, for all that is nested.

    most, most_bytes: how many records may be nested, of how many bytes; one that stands in several places counts in
    each.
    texts: what of it is text already: the last level of children.
    """

    def __init__(
        self,
        connection: Connection,
        expand: Expand,
        most: int,
        most_bytes: int,
        embedding: bool = False,
        zone: str | None = None,
    ) -> None:
        self._connection = connection
        self._expand = expand
        self._most, self._most_bytes = most, most_bytes
        self._embedding, self._zone = embedding, zone
        self._count = self._bytes = 0
        self.texts = Texts()

    def nest(self, contract: Contract, records: Sequence[Record], rows: Sequence[sa.Row[Any]]) -> None:
        """Add members to ``records``, all of one dataset. rows: theirs, with the fields that ``needed`` names.

        Raises ExpandedTooLarge.
        """
        if not rows or not self._expand:
            return
        top = Level(rows[0]._fields, [Node(record, row) for record, row in zip(records, rows, strict=True)])
        if self._expand.children:
            self._descend({contract.name: [top]}, _by(all_below(self._connection, contract), above=True))
        if self._expand.parents:
            self._ascend({contract.name: [top]}, _by(all_above(self._connection, contract), above=False))

    def _descend(self, levels: Levels, below: Mapping[str, list[Relation]]) -> None:
        for depth in range(1, self._expand.depth + 1):
            further: Levels = defaultdict(list)
            for name, found in levels.items():
                relations = below.get(name, [])
                members = _members(relations)
                for level in found:
                    for node in level.nodes:
                        node.record[CHILDREN] = {member: [] for member in members}
                for member, relation in zip(members, relations, strict=True):
                    last = depth == self._expand.depth
                    further[relation.child.name].append(self._children(relation, member, found, last))
            levels = further

    def _children(self, relation: Relation, member: str, levels: Sequence[Level], last: bool) -> Level:
        """Put the children that a relation gives into the records of ``levels``; return them if more follows."""
        # Where the lists of children of a parent are, and in how many places those stand altogether.
        holders: dict[Any, list[Record]] = defaultdict(list)
        places: dict[Any, int] = defaultdict(int)
        for level in levels:
            key = level.place(relation.parent.key[0])
            for node in level.nodes:
                holders[node.row[key]].append(node.record[CHILDREN])
                places[node.row[key]] += node.places
        shape, field = self._shape(relation.child), relation.spec.field
        if last and not shape.needs_python:
            lists = self._lists(relation.child, shape, field, places)
            self._add(sum(count * places[parent] for parent, count, _ in lists))
            for parent, _, text in lists:
                listed = self.texts.add(text)
                for holder in holders[parent]:
                    holder[member] = listed
            return Level(shape.selected, [])
        rows = self._read(relation.child, shape, field, places)
        ref = shape.selected.index(field)
        parents = [row[ref] for row in rows]
        self._add(sum(map(places.__getitem__, parents)))
        records = shape.to_records(rows)
        for record, parent in zip(records, parents, strict=True):
            for holder in holders[parent]:
                holder[member].append(record)
        if last:
            return Level(shape.selected, [])
        nodes = [Node(*one) for one in zip(records, rows, map(places.__getitem__, parents), strict=True)]
        return Level(shape.selected, nodes)

    def _ascend(self, levels: Levels, above: Mapping[str, list[Relation]]) -> None:
        for _ in range(self._expand.depth):
            further: Levels = defaultdict(list)
            for name, found in levels.items():
                for level in found:
                    for node in level.nodes:
                        node.record[PARENTS] = {}
                for relation in above.get(name, []):
                    further[relation.parent.name].append(self._parents(relation, found))
            levels = further

    def _parents(self, relation: Relation, levels: Sequence[Level]) -> Level:
        """Put the parents that a relation gives into the records of ``levels``, and return them."""
        field, waiting = relation.spec.field, []
        for level in levels:
            ref = level.place(field)
            waiting += [(node.row[ref], node) for node in level.nodes]
        places: dict[Any, int] = defaultdict(int)
        for key, node in waiting:
            if key is not None:
                places[key] += node.places
        shape = self._shape(relation.parent)
        rows = self._read(relation.parent, shape, relation.parent.key[0], places)
        place = shape.selected.index(relation.parent.key[0])
        found = {row[place]: Node(shape.to_json(row), row, 0) for row in rows}
        for key, node in waiting:
            parent = found.get(key)
            node.record[PARENTS][field] = None if parent is None else parent.record
            if parent is not None:
                parent.places += node.places
        self._add(sum(node.places for node in found.values()))
        return Level(shape.selected, list(found.values()))

    def _shape(self, contract: Contract) -> RecordShape:
        return RecordShape(contract, self._embedding, zone=self._zone)

    def _read(
        self, contract: Contract, shape: RecordShape, field: str, places: Mapping[Any, int]
    ) -> Sequence[Sequence[Any]]:
        """Return the rows of the records whose field has one of the values. places: where those of each will stand."""
        left = self._measure(contract, shape, field, places)
        rows = read_related(self._connection, contract, shape, field, list(places), left + 1) if places else []
        if len(rows) > left:
            self._add(count_related(self._connection, contract, shape, field, list(places)))
        return rows

    def _lists(
        self, contract: Contract, shape: RecordShape, field: str, places: Mapping[Any, int]
    ) -> list[tuple[Any, int, str]]:
        """Return these records as lists: of each value it, the number of records, and their list as JSON."""
        left = self._measure(contract, shape, field, places)
        try:
            lists = read_lists(self._connection, contract, shape, field, list(places), left + 1) if places else []
        except DBAPIError as error:
            # Characters that JSON escapes take up to six times their size, and no text of Postgres has more than 1 GiB.
            if getattr(error.orig, "pgcode", None) == PROGRAM_LIMIT_EXCEEDED:
                raise self._too_large() from error
            raise
        if sum(count for _, count, _ in lists) > left:
            self._add(count_related(self._connection, contract, shape, field, list(places)))
        return lists

    def _measure(self, contract: Contract, shape: RecordShape, field: str, places: Mapping[Any, int]) -> int:
        """Refuse more bytes than are possible before they are read; return how many records may still be."""
        left = self._most - self._count
        if places and self._most * most_bytes(contract, shape.names) > self._most_bytes:
            self._bytes += measure_related(self._connection, contract, shape, field, places, left + 1)
        if self._bytes > self._most_bytes:
            raise self._too_large()
        return left

    def _too_large(self) -> ExpandedTooLarge:
        return ExpandedTooLarge(
            f"More bytes would be nested in this answer, about {self._bytes} at least: at most {self._most_bytes} are "
            "possible (reads.max_expanded_bytes); ask for fewer records, or for a smaller depth",
            max_bytes=self._most_bytes,
        )

    def _add(self, count: int) -> None:
        self._count += count
        if self._count > self._most:
            raise ExpandedTooLarge(
                f"At least {self._count} records would be nested in this answer: at most {self._most} are possible "
                "(reads.max_expanded); ask for fewer records, or for a smaller depth",
                records=self._count,
                max_records=self._most,
            )


def needed(contract: Contract, expand: Expand) -> list[str]:
    """Return the fields that the records of a read are nested by."""
    return [*(contract.key[:1] if expand.children else ()), *(contract.parent_fields if expand.parents else ())]


def _by(relations: Iterable[Relation], *, above: bool) -> dict[str, list[Relation]]:
    """Return relations by the datasets of their parents (``above``), or of their children."""
    found: dict[str, list[Relation]] = defaultdict(list)
    for relation in relations:
        found[relation.parent.name if above else relation.child.name].append(relation)
    return found


def _members(relations: Sequence[Relation]) -> list[str]:
    """Return what the lists of children are called: by their dataset; and by the field too where it has several."""
    names = [relation.child.name for relation in relations]
    return [
        f"{name}.{relation.spec.field}" if names.count(name) > 1 else name
        for name, relation in zip(names, relations, strict=True)
    ]
