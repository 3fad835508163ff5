"""What the job of a write would refuse, refused before it is queued, as long as nothing unfinished could change it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.lookup import Dataset, scope_of
from gristmill.datasets.parents.judge import exceeded, missing
from gristmill.datasets.parents.relations import Relation, Relations
from gristmill.datasets.parents.repository.usage import Usage, array_type, read_usage
from gristmill.datasets.types import TYPES
from gristmill.jobs.group_commit import NotConfirmed
from gristmill.jobs.repository.scopes import may_be_changed
from gristmill.jobs.submit import NewChunk, unfinished_in_scope
from gristmill.kit.identifiers import quote
from gristmill.records.parents.bounds import refuse_beyond_bounds
from gristmill.records.parents.keys import (
    Rows,
    distinct,
    find_place,
    keys_of_records,
    measured,
    tally,
    values_of,
)
from gristmill.records.payload import decode
from gristmill.records.spool import SpooledChunks


class EarlyParents:
    """Looks at parents and children for writes that are about to be submitted."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations

    def confirm(self, connection: Connection, dataset: Dataset, chunks: SpooledChunks) -> None:
        """Say that all parents are there, and that none of them can go before the job has run.

        Call it under the locks of the job's scopes. Raises ParentMissing, NotConfirmed.
        """
        if not self._refuse_children(connection, dataset, chunks):
            raise NotConfirmed

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

    def _refuse_children(
        self, connection: Connection, dataset: Dataset, chunks: SpooledChunks, whole: bool = False
    ) -> bool:
        """Return False where the job has to find out."""
        contract = dataset.contract
        above = [scope_of(parent.dataset) for parent in contract.parents]
        if may_be_changed(connection, above, dataset.scope):
            return False
        relations = self._relations.above(connection, contract)
        for chunk in chunks:
            rows = _rows(chunk)
            for relation in relations:
                _refuse_missing(connection, relation, rows)
                if relation.spec.limits and whole:
                    _refuse_beyond(connection, relation, rows)
        return True

    def _refuse_parents(self, connection: Connection, dataset: Dataset, rows: Rows) -> None:
        for relation in self._relations.below(connection, dataset.contract):
            if relation.spec.bound_fields and not unfinished_in_scope(connection, scope_of(relation.child.name)):
                refuse_beyond_bounds(connection, relation, rows)


def _rows(chunk: NewChunk) -> Rows:
    return Rows(decode(chunk.payload or b""), chunk.first_record)


def _refuse_missing(connection: Connection, relation: Relation, rows: Rows) -> None:
    field = relation.child.field(relation.spec.field)
    keys = sorted(distinct(field, [rows]))
    bare = replace(relation, spec=relation.spec.model_copy(update={"limits": ()}))
    found = {place for place, _ in read_usage(connection, bare, keys, "false", {})}
    for place, key in enumerate(keys):
        if place not in found:
            raise missing(relation, key, find_place(field, [rows], key))


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
    for place, usages in read_usage(connection, relation, ordered, mine, parameters):
        of_parent = [row for row in last if parents[row] == ordered[place]]
        for usage, values in zip(usages, asked, strict=True):
            now: Usage = replace(usage, asked=tally(usage.limit, [values[row] for row in of_parent]))
            if now.is_broken:
                raise exceeded(relation, now, find_place(field, [rows], usage.parent))


def _named(child: Contract, keys: Sequence[tuple[Any, ...]]) -> tuple[str, dict[str, Any]]:
    """Return the condition on ``c`` of the children that have one of the keys, and its parameters."""
    if not child.key:
        return "false", {}
    columns, lists, parameters = [], [], {}
    for place, one in enumerate(child.key_fields):
        kind = TYPES[one.type]
        columns.append(f"c.{quote(one.name)}")
        lists.append(f"%(own{place})s::{array_type(one)}")
        parameters[f"own{place}"] = [kind.parameter(key[place]) for key in keys]
    return f"({', '.join(columns)}) IN (SELECT * FROM unnest({', '.join(lists)}))", parameters  # noqa: S608
