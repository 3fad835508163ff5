"""What the job of a change or deletion would be refused for, where it can be known when it is submitted."""

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.datasets.ddl import record_table
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.parents.early import NO_JOB, is_idle, undone
from gristmill.datasets.parents.removal import refuse_left
from gristmill.datasets.parents.renaming import has_many
from gristmill.datasets.where import compile_where
from gristmill.jobs.submit import NewJob
from gristmill.records.changes import repository
from gristmill.records.changes.recompute import Recompute
from gristmill.records.changes.writes import Below, Writes, key_after
from gristmill.records.columns import Row
from gristmill.records.key_list import Key

# Records that a filter may find, and children that may follow one, for a change to be tried out.
MOST_TRIED = 1000


class EarlyAnswers:
    """Tries writes out as their jobs would do them, and undoes them. Each method raises what the job would fail with.

    They are called when no job of the dataset is unfinished; where one of another scope of the job is, it decides.
    """

    def __init__(self, writes: Writes, recompute: Recompute) -> None:
        self._writes = writes
        self._recompute = recompute

    def patch(self, connection: Connection, dataset: Dataset, key: Key, changes: Row, job: NewJob) -> None:
        """Try the changes of one record that is there, its vector apart."""
        if not is_idle(connection, job.further_scopes):
            return
        contract, new = dataset.contract, key_after(dataset.contract, key, changes)
        plan = self._recompute.plan(contract, changes)
        below: Below = job.args.get("below", ())
        if new == key and not self._writes.may_break(connection, dataset, plan.writes.union(changes)):
            return
        with undone(connection):
            if new != key:
                relations = self._writes.may_rename(connection, dataset, key, new, below)
                if has_many(connection, contract, key[0], relations, MOST_TRIED):
                    return
            stored = repository.read_fields(connection, contract, key, sorted(plan.reads)) if plan.reads else {}
            if stored is not None:
                complete = self._recompute.complete(contract, plan, changes, stored)
                self._writes.patch(connection, dataset, key, complete, NO_JOB, below)

    def patch_where(self, connection: Connection, dataset: Dataset, where: object, changes: Row, job: NewJob) -> None:
        """Try changes of what a filter finds, where that is not much."""
        if is_idle(connection, job.further_scopes) and self._writes.may_break(connection, dataset, changes):
            with undone(connection):
                if repository.finds_at_most(connection, dataset.contract, where, MOST_TRIED):
                    self._writes.patch_where(connection, dataset, where, changes, NO_JOB)

    def delete(self, connection: Connection, dataset: Dataset, condition: sa.ColumnElement[bool], job: NewJob) -> None:
        """Look for children that keep records."""
        if is_idle(connection, job.further_scopes):
            with undone(connection):
                below = self._writes.below(connection, dataset, job.args.get("below", ()))
                refuse_left(connection, dataset.contract, condition, below)


def found_by(dataset: Dataset, where: object) -> sa.ColumnElement[bool]:
    """Return the condition of a filter. Raises Invalid for a bad one."""
    return compile_where(where, dataset.contract, record_table(dataset.contract))
