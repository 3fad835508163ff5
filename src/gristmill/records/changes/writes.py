"""Changes and deletions of records that may have parents or children, within the transaction of their job."""

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.keys import show_key
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.parents.changed import (
    check_followers,
    check_record,
    check_records,
    touched_below,
    touched_parents,
)
from gristmill.datasets.parents.relations import Relation, Relations, all_below
from gristmill.datasets.parents.removal import remove
from gristmill.datasets.parents.renaming import follow, refuse_rename
from gristmill.records.changes import repository
from gristmill.records.columns import Row
from gristmill.records.errors import KeyExists
from gristmill.records.etags import LastWrite
from gristmill.records.key_list import Key

Below = Collection[str]
"""The ids of the datasets below that a job was submitted with."""


class Writes:
    """Writes what is asked and all that goes with it, or raises ParentMissing, LimitExceeded, ChildrenLeft,
    HierarchyChanged."""

    def __init__(self, relations: Relations) -> None:
        self._relations = relations

    def patch(
        self, connection: Connection, dataset: Dataset, key: Key, changes: Row, seq: int, below: Below
    ) -> tuple[LastWrite, dict[str, int]] | None:
        """Change one record, its key too; None if it is not there. changes: as of ``repository.patch``.

        Returns which write it is of, and how many children in each dataset followed it to another key. Raises KeyExists
        too.
        """
        contract = dataset.contract
        new = key_after(contract, key, changes)
        following: list[Relation] = []
        if new != key:
            if repository.last_write(connection, contract, key, lock=True) is None:
                return None
            following = self.may_rename(connection, dataset, key, new, below)
        written = repository.patch(connection, contract, key, changes, seq)
        if written is None:
            return None
        moved = follow(connection, contract, (key[0], new[0]), following, seq) if following else {}
        self._check(connection, dataset, new, changes, seq)
        for child, fields, _ in moved.values():
            check_followers(connection, self._relations, child, fields, seq)
        return written, {name: count for name, (_, _, count) in moved.items()}

    def may_rename(self, connection: Connection, dataset: Dataset, key: Key, new: Key, below: Below) -> list[Relation]:
        """Return all relations below a dataset of which a record is to get another key.

        Raises KeyExists, and ChildrenLeft where children keep it as it is.
        """
        if repository.last_write(connection, dataset.contract, new) is not None:
            raise _key_exists(dataset.contract, new)
        relations = self.below(connection, dataset, below)
        refuse_rename(connection, dataset.contract, (key[0], new[0]), relations)
        return relations

    def may_break(self, connection: Connection, dataset: Dataset, touched: Collection[str]) -> bool:
        """Say whether a change of these fields may break anything between records and their parents or children."""
        if touched_parents(dataset.contract, touched):
            return True
        return bool(dataset.hierarchy and touched_below(connection, self._relations, dataset.contract, touched))

    def _check(self, connection: Connection, dataset: Dataset, key: Key, changes: Row, seq: int) -> None:
        contract, values = dataset.contract, changes
        names = {spec.field for spec in touched_parents(contract, changes)} - changes.keys()
        if names:
            values = {**changes, **(repository.read_fields(connection, contract, key, sorted(names)) or {})}
        check_record(connection, self._relations, dataset, key, values, changes, seq)

    def patch_where(self, connection: Connection, dataset: Dataset, where: Any, changes: Row, seq: int) -> int:
        """Change what a filter finds, each record alike; return how many."""
        changed = repository.patch_where(connection, dataset.contract, where, changes, seq)
        if changed:
            check_records(connection, self._relations, dataset, changes, changes, seq)
        return changed

    def delete(
        self, connection: Connection, dataset: Dataset, condition: sa.ColumnElement[bool], below: Below
    ) -> tuple[int, dict[str, int]]:
        """Delete records with all that goes with them; return how many, and how many in each dataset below."""
        return remove(connection, dataset.contract, condition, self.below(connection, dataset, below))

    def below(self, connection: Connection, dataset: Dataset, known: Below) -> list[Relation]:
        """Return all relations below a dataset."""
        return all_below(connection, dataset.contract, known) if dataset.hierarchy else []


def key_after(contract: Contract, key: Key, changes: Row) -> Key:
    """Return the key that a record has after its changes."""
    return tuple(changes.get(name, value) for name, value in zip(contract.key, key, strict=True))


def _key_exists(contract: Contract, key: Key) -> KeyExists:
    """Return the error of a record that is to get the key of another one."""
    shown = show_key(contract, key)
    return KeyExists(f"The dataset {contract.name} has a record with the key {shorten(shown)} already", key=shown)
