"""A model of datasets with parents: plain lists of records, changed as each job should change the tables."""

import copy
from dataclasses import dataclass, field
from typing import Any

Record = dict[str, Any]
NAMES = ("a", "b", "c")


@dataclass(frozen=True)
class Relation:
    """``field`` of the records of a child names the key of a parent. limited: their sizes stay within its room."""

    field: str
    parent: int
    on_delete: str
    on_rename: str
    limited: bool

    def spec(self, names: list[str]) -> Any:
        found = {
            "field": self.field,
            "dataset": names[self.parent],
            "on_delete": self.on_delete,
            "on_rename": self.on_rename,
        }
        return {**found, "limits": [{"sum": "size", "at_most": "room"}]} if self.limited else found


@dataclass(frozen=True)
class Shape:
    """A dataset: its key, empty for none, and its parents."""

    key: tuple[str, ...]
    relations: tuple[Relation, ...]

    def contract(self, names: list[str]) -> Any:
        text = {"type": "text", "max_length": 20}
        fields = [{"name": "k", "required": True, **text}]
        fields += [{"name": one.field, "required": one.field in self.key, **text} for one in self.relations]
        fields += [{"name": "size", "type": "integer", "minimum": 0}, {"name": "room", "type": "integer"}]
        found: Any = {"fields": fields, "key": list(self.key)}
        if self.relations:
            found["parents"] = [one.spec(names) for one in self.relations]
        return found


class Refused(Exception):
    """codes: any of them may be what is said."""

    def __init__(self, *codes: str) -> None:
        super().__init__(*codes)
        self.codes = set(codes)


@dataclass
class Model:
    """tables: the records of each dataset."""

    shapes: list[Shape]
    tables: list[list[Record]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tables = self.tables or [[] for _ in self.shapes]

    def key(self, at: int, record: Record) -> tuple[Any, ...]:
        return tuple(record[name] for name in self.shapes[at].key)

    def run(self, operation: tuple[Any, ...]) -> None:
        """Carry out an operation. Raises Refused, and has changed nothing then."""
        before = copy.deepcopy(self.tables)
        try:
            getattr(self, operation[0])(*operation[1:])
            self.check()
        except Refused:
            self.tables = before
            raise

    def check(self) -> None:
        """What has to hold, holds for all that is there: looking at more than what was touched finds no more."""
        broken: set[str] = set()
        for shape, table in zip(self.shapes, self.tables, strict=True):
            for relation in shape.relations:
                above = {record[self.shapes[relation.parent].key[0]]: record for record in self.tables[relation.parent]}
                used: dict[Any, int] = {}
                for record in table:
                    name = record[relation.field]
                    if name is not None and name not in above:
                        broken.add("parent_missing")
                    used[name] = used.get(name, 0) + (record["size"] or 0)
                for name, total in used.items():
                    room = above.get(name, {}).get("room")
                    if relation.limited and room is not None and total > room:
                        broken.add("limit_exceeded")
        if broken:
            raise Refused(*broken)

    def put(self, at: int, record: Record) -> None:
        table, key = self.tables[at], self.key(at, record)
        if key:
            table[:] = [other for other in table if self.key(at, other) != key]
        table.append(dict(record))

    def delete(self, at: int, key: tuple[Any, ...]) -> None:
        self._remove(at, [self._find(at, key)])

    def delete_keys(self, at: int, keys: list[tuple[Any, ...]]) -> None:
        self._remove(at, [record for record in self.tables[at] if self.key(at, record) in keys])

    def delete_where(self, at: int, size: int) -> None:
        self._remove(at, [one for one in self.tables[at] if one["size"] is not None and one["size"] >= size])

    def truncate(self, at: int) -> None:
        self._remove(at, self.tables[at])

    def patch(self, at: int, key: tuple[Any, ...], changes: Record) -> None:
        record = self._find(at, key)
        new = self.key(at, {**record, **changes})
        if new != key:
            if any(self.key(at, other) == new for other in self.tables[at]):
                raise Refused("key_exists")
            moved = self._followers(at, key[0])
            record.update(changes)
            for follower, name in moved:
                follower[name] = new[0]
        record.update(changes)

    def patch_where(self, at: int, size: int, changes: Record) -> None:
        for record in self.tables[at]:
            if record["size"] is not None and record["size"] >= size:
                record.update(changes)

    def _find(self, at: int, key: tuple[Any, ...]) -> Record:
        for record in self.tables[at]:
            if self.key(at, record) == key:
                return record
        raise Refused("unknown_record")

    def _remove(self, at: int, records: list[Record]) -> None:
        going: dict[int, list[Record]] = {at: list(records)}
        for child in range(at + 1, len(self.shapes)):
            for relation in self.shapes[child].relations:
                if relation.on_delete == "cascade":
                    keys = self._keys(relation.parent, going)
                    going.setdefault(child, []).extend(one for one in self.tables[child] if one[relation.field] in keys)
        ids = {id(one) for records in going.values() for one in records}
        for child, shape in enumerate(self.shapes):
            for relation in shape.relations:
                keys = self._keys(relation.parent, going)
                left = [one for one in self.tables[child] if one[relation.field] in keys and id(one) not in ids]
                if left:
                    assert relation.on_delete == "refuse"
                    raise Refused("children_left")
        for table in self.tables:
            table[:] = [one for one in table if id(one) not in ids]

    def _keys(self, at: int, going: dict[int, list[Record]]) -> set[Any]:
        return {record[self.shapes[at].key[0]] for record in going.get(at, ())}

    def _followers(self, at: int, old: Any) -> list[tuple[Record, str]]:
        """Return the records, with their fields, that follow a record from its old key."""
        found: list[tuple[Record, str]] = []
        for child, shape in enumerate(self.shapes):
            for relation in shape.relations:
                if relation.parent == at:
                    mine = [(one, relation.field) for one in self.tables[child] if one[relation.field] == old]
                    if mine and relation.on_rename == "refuse":
                        raise Refused("children_left")
                    found += mine
                    if mine and shape.key == (relation.field,):
                        found += self._followers(child, old)
        return found
