"""Under quarantine: which records of a batch fit their parents and children, each judged after those before it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection

from gristmill.core.errors import Violation
from gristmill.datasets.contract import Contract
from gristmill.datasets.parents.judge import exceeded, missing
from gristmill.datasets.parents.relations import Relation
from gristmill.datasets.parents.repository.usage import EXACT, Usage, read_usage
from gristmill.datasets.parents.spec import LimitSpec
from gristmill.records.key_list import Key
from gristmill.records.parents.bounds import beyond_bounds
from gristmill.records.parents.keys import Rows, distinct, exact, keys_of_records, values_of
from gristmill.records.parents.repository import read_fields_of

Fields = Mapping[str, Any]


@dataclass(slots=True)
class _Children:
    """What the children of the parents of a batch have, of one relation; it is kept up as records are let in."""

    relation: Relation
    usages: dict[Any, list[Usage]] = field(default_factory=dict)

    def absence(self, new: Fields, place: int) -> Violation | None:
        """Return what is wrong with a record whose parent is not there."""
        parent = new[self.relation.spec.field]
        if parent is None or parent in self.usages:
            return None
        return _violation(missing(self.relation, parent, place), place)

    def refusal(self, new: Fields, old: Fields | None, place: int) -> Violation | None:
        """Return what is wrong with a record, which takes the place of ``old``."""
        spec = self.relation.spec
        parent = new[spec.field]
        if parent not in self.usages:
            return self.absence(new, place)
        before = old if old is not None and old[spec.field] == parent else None
        for usage in self.usages[parent]:
            asked, had = _measured(usage.limit, new), _measured(usage.limit, before)
            now = replace(usage, used=_less(usage, had), asked=asked)
            if now.is_broken:
                return _violation(exceeded(self.relation, now, place), place)
        return None

    def let_in(self, new: Fields, old: Fields | None) -> None:
        for record, sign in ((old, -1), (new, 1)):
            usages = self.usages.get(None if record is None else record[self.relation.spec.field], [])
            for number, usage in enumerate(usages):
                value = _measured(usage.limit, record)
                if value is not None and usage.limit.adds_up:
                    change = EXACT.add if sign > 0 else EXACT.subtract
                    usages[number] = replace(usage, used=change(usage.used or 0, value))


class Sifter:
    """Says of each record of a batch, in its order, whether it fits those before it and what is stored."""

    def __init__(
        self, connection: Connection, contract: Contract, above: Sequence[Relation], below: Sequence[Relation]
    ):
        self._connection = connection
        self._contract = contract
        self._above = [_Children(relation) for relation in above]
        self._below = [relation for relation in below if relation.spec.bound_fields]

    def sift(self, table: pa.Table, places: Sequence[int], skip: bool) -> Iterator[tuple[int, Violation]]:
        """Yield the row of each record that does not fit, and what is wrong with it.

        places: those of the records in the request. skip: a record whose key is there is not written.
        """
        rows = Rows(table, 0)
        for children in self._above:
            child_field = self._contract.field(children.relation.spec.field)
            keys = sorted(distinct(child_field, [rows]))
            read = read_usage(self._connection, children.relation, keys, lock=True)
            children.usages = {keys[place]: usages for place, usages in read}
        records = _records(self._contract, self._above, table)
        keys = keys_of_records(self._contract, table)
        present = self._stored(keys, list(records[0]) if records else [])
        refused = self._parents_refused(table, places)
        for row, (key, new) in enumerate(zip(keys, records, strict=True)):
            old = present.get(key)
            if skip and old is not None:
                # It is not written, but its parents have to be there, as without quarantine.
                lost = next((found for one in self._above if (found := one.absence(new, places[row]))), None)
                if lost is not None:
                    yield row, lost
                continue
            wrong = refused.get(row) or next(
                (found for children in self._above if (found := children.refusal(new, old, places[row]))), None
            )
            if wrong is not None:
                yield row, wrong
                continue
            for children in self._above:
                children.let_in(new, old)
            present[key] = new

    def _stored(self, keys: Sequence[Key], names: Sequence[str]) -> dict[Key, Fields]:
        if not self._contract.key:
            return {}
        wanted = names or self._contract.key
        found = read_fields_of(self._connection, self._contract, sorted(set(keys)), wanted)
        return {key: {name: exact(value) for name, value in one.items()} for key, one in found.items()}

    def _parents_refused(self, table: pa.Table, places: Sequence[int]) -> dict[int, Violation]:
        """Return the records that are parents and have less than their children use."""
        refused: dict[int, Violation] = {}
        for relation in self._below:
            for row, error in beyond_bounds(self._connection, relation, Rows(table, 0), lock=True):
                refused.setdefault(row, _violation(error, places[row]))
        return refused


def _records(contract: Contract, above: Sequence[_Children], table: pa.Table) -> list[Fields]:
    """Return of each record the fields that hold the keys of parents, and those that limits measure."""
    names = sorted({name for one in above for name in (one.relation.spec.field, *one.relation.spec.measured_fields)})
    columns = [[exact(value) for value in values_of(contract.field(name), table)] for name in names]
    if not names:
        return [{} for _ in range(table.num_rows)]
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _measured(limit: LimitSpec, record: Fields | None) -> Any:
    """Return what a record counts for a limit; None where it counts nothing."""
    if record is None:
        return None
    return 1 if limit.field is None else record[limit.field]


def _less(usage: Usage, had: Any) -> Any:
    """Return what the others use. Of a minimum and a maximum only the record itself is looked at."""
    if not usage.limit.adds_up:
        return None
    return EXACT.subtract(usage.used or 0, had or 0)


def _violation(error: Any, place: int) -> Violation:
    (found,) = error.extra["errors"]
    pointer = f"/{place}/{found['pointer'].removeprefix('/').partition('/')[2]}"
    return Violation(pointer, found["code"], found["reason"], place, field=found.get("field"))
