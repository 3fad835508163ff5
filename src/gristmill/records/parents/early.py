"""What the job of a write would refuse, refused before it is queued, as long as nothing unfinished could change it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.lookup import Dataset, scope_of
from gristmill.datasets.parents.judge import check_present, exceeded, missing
from gristmill.datasets.parents.relations import Relation, Relations
from gristmill.datasets.parents.repository.usage import (
    NOBODYS,
    Mine,
    Usage,
    array_type,
    find_present,
    measure_of,
    read_usage,
)
from gristmill.datasets.types import TYPES
from gristmill.jobs.confirmation import Confirmation
from gristmill.jobs.repository.scopes import may_be_changed
from gristmill.jobs.submit import NewChunk, unfinished_in_scope
from gristmill.kit.identifiers import quote
from gristmill.records.parents.bounds import refuse_beyond_bounds
from gristmill.records.parents.keys import (
    ParentKeys,
    Rows,
    distinct,
    find_place,
    keys_of_records,
    measured,
    values_of,
)
from gristmill.records.payload import decode
from gristmill.records.spool import SpooledChunks


class EarlyParents:
    """Looks at parents and children for writes that are about to be submitted. It locks no records."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations

    def confirmation(self, dataset: Dataset, keys: ParentKeys) -> Confirmation:
        """Return what has to be so for a job to be shared in its parents' scopes.

        All parents are there. None of them goes before the job has run, as nothing unfinished can change them.
        """
        return Confirmation((dataset.id, dataset.version), keys, partial(self._confirm, dataset))

    def _confirm(
        self, dataset: Dataset, connection: Connection, asked: Sequence[ParentKeys]
    ) -> Sequence[Exception | None]:
        errors: list[Exception | None] = [None] * len(asked)
        for relation in self._relations.of(connection, dataset):
            name = relation.spec.field
            wanted = {key for keys in asked for key in keys.places[name]}
            found = find_present(connection, relation, wanted, lock=False) if wanted else wanted
            if len(found) < len(wanted):
                for number, keys in enumerate(asked):
                    lost = [(key, place) for key, place in keys.places[name].items() if key not in found]
                    if lost and errors[number] is None:
                        # The one that the job would name.
                        key, place = min(lost)
                        errors[number] = missing(relation, key, place)
        return errors

    def check(self, connection: Connection, dataset: Dataset, chunks: SpooledChunks, whole: bool) -> None:
        """Refuse what the job would refuse.

        whole: all that is given of a record is written, so that limits may be looked at. Raises ParentMissing,
        LimitExceeded.
        """
        whole = whole and len(chunks) == 1
        if dataset.contract.parents:
            self._refuse_children(connection, dataset, chunks, whole)
        if dataset.hierarchy and whole:
            self._refuse_parents(connection, dataset, _rows(next(iter(chunks))))

    def _refuse_children(self, connection: Connection, dataset: Dataset, chunks: SpooledChunks, whole: bool) -> None:
        contract = dataset.contract
        if may_be_changed(connection, [scope_of(parent.dataset) for parent in contract.parents], dataset.scope):
            return
        relations = self._relations.of(connection, dataset)
        for chunk in chunks:
            rows = _rows(chunk)
            for relation in relations:
                _refuse_missing(connection, relation, rows)
                if relation.spec.limits and whole:
                    _refuse_beyond(connection, relation, rows)

    def _refuse_parents(self, connection: Connection, dataset: Dataset, rows: Rows) -> None:
        for relation in self._relations.below(connection, dataset.contract):
            if relation.spec.bound_fields and not unfinished_in_scope(connection, scope_of(relation.child.name)):
                refuse_beyond_bounds(connection, relation, rows, lock=False)


def _rows(chunk: NewChunk) -> Rows:
    return Rows(decode(chunk.payload or b""), chunk.first_record)


def _refuse_missing(connection: Connection, relation: Relation, rows: Rows) -> None:
    field = relation.child.field(relation.spec.field)
    check_present(connection, relation, distinct(field, [rows]), lambda key: find_place(field, [rows], key), lock=False)


def _refuse_beyond(connection: Connection, relation: Relation, rows: Rows) -> None:
    """Raise LimitExceeded where the children that are there, but for those that are replaced, leave too little."""
    child = relation.child
    field = child.field(relation.spec.field)
    keys = keys_of_records(child, rows.table)
    last = sorted({key: row for row, key in enumerate(keys)}.values())
    parents = values_of(field, rows.table)
    mine, parameters = _named(child, [keys[row] for row in last])
    asked = [measured(child, limit, rows.table) for limit in relation.spec.limits]
    ordered = sorted(distinct(field, [rows]))
    rows_of: dict[Any, list[int]] = {}
    for row in last:
        rows_of.setdefault(parents[row], []).append(row)
    for place, usages in read_usage(connection, relation, ordered, mine, parameters, lock=False):
        of_parent = rows_of.get(ordered[place], ())
        for usage, values in zip(usages, asked, strict=True):
            now: Usage = replace(usage, asked=measure_of(usage.limit, [values[row] for row in of_parent]))
            if now.is_broken:
                raise exceeded(relation, now, find_place(field, [rows], usage.parent))


def _named(child: Contract, keys: Sequence[tuple[Any, ...]]) -> tuple[Mine, dict[str, Any]]:
    """Return the condition on ``c`` of the children that have one of the keys, and its parameters."""
    if not child.key:
        return NOBODYS, {}
    columns, types, parameters = [], [], {}
    for place, one in enumerate(child.key_fields):
        kind = TYPES[one.type]
        columns.append(f"c.{quote(one.name)}")
        types.append((f"own{place}", array_type(one)))
        parameters[f"own{place}"] = [kind.parameter(key[place]) for key in keys]
    lists = ", ".join(f"%({name})s" for name in parameters)
    condition = f"({', '.join(columns)}) IN (SELECT * FROM unnest({lists}))"  # noqa: S608
    return Mine(condition, tuple(types)), parameters
