"""What a chunk writes to: its dataset as it was when the records were validated, and as its table is now."""

import uuid

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.datasets.contract import Contract
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.datasets.parents.errors import HierarchyChanged
from gristmill.datasets.version_checks import is_applied, latest_applied
from gristmill.jobs.handlers import ChunkTask
from gristmill.kit.caches import SharedCache

_REMEMBERED = 1000


class Targets:
    """Finds what a chunk writes to."""

    def __init__(self, database: Database, datasets: DatasetLookup) -> None:
        self._database = database
        self._datasets = datasets
        # The parts that never change within a version, so that preparing a chunk usually needs no query.
        self._known: SharedCache[tuple[str, int], Dataset] = SharedCache(_REMEMBERED)

    def submitted(self, task: ChunkTask) -> Dataset:
        """Return the dataset with the contract that the chunk was validated under; its state may be out of date."""
        key = (task.args["dataset_id"], task.args["contract_version"])
        found = self._known.get(key)
        if found is None:
            with self._database.autocommit() as connection:
                found = self._known.put(key, self._datasets.by_id(connection, uuid.UUID(key[0]), key[1]))
        return found

    def present(self, connection: Connection, task: ChunkTask) -> Dataset:
        """Return the dataset with the contract that its table has now, checked to be writable in this transaction.

        Raises JobDropped, DatasetFailed, ChangeFailed, HierarchyChanged.
        """
        dataset = self.submitted(task)
        if is_applied(connection, dataset):
            return dataset
        dataset = self._datasets.writable(connection, dataset.id, dataset.version)
        present = self._datasets.by_id(connection, dataset.id, latest_applied(connection, dataset))
        _refuse_other_parents(dataset.contract, present.contract)
        # Another version is that of other chunks; of this one what is below it may have changed.
        return self._known.put((str(present.id), present.version), present)


def _refuse_other_parents(submitted: Contract, present: Contract) -> None:
    """Raise HierarchyChanged where a scheduled job is not in the scopes of parents that were declared since."""
    fresh = {parent.dataset for parent in present.parents} - {parent.dataset for parent in submitted.parents}
    limited = [any(parent.limits for parent in contract.parents) for contract in (submitted, present)]
    if fresh or limited == [False, True]:
        what = f"parents in {', '.join(sorted(fresh))}" if fresh else "limits of its parents"
        raise HierarchyChanged(f"{present.name} has got {what} since the job was submitted: submit it again")
