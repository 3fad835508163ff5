"""Which dataset a read is about, and with which contract its table can be read now."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from gristmill.core.database import is_undefined_table
from gristmill.datasets import repository
from gristmill.datasets.describe import shorten
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.datasets.version_checks import is_applied
from gristmill.kit.caches import SharedCache

MAX_KNOWN = 10_000


@dataclass(frozen=True, slots=True)
class AppliedDataset:
    """A dataset with the contract that its table has. ``has_table``: false while the dataset is being created."""

    dataset: Dataset
    has_table: bool


class AppliedDatasets:
    """Finds datasets to read. Those met before only cost one narrow query, which says that nothing has changed."""

    def __init__(self, datasets: DatasetLookup) -> None:
        self._datasets = datasets
        self._known: SharedCache[str, Dataset] = SharedCache(MAX_KNOWN)

    @contextlib.contextmanager
    def reading(self, connection: Connection, name: str) -> Iterator[AppliedDataset]:
        """Yield the dataset called ``name`` to be read within the block.

        A change of the contract is visible at once but its columns only exist once its job is done; until then the
        contract before it is read by. Raises UnknownDataset, also when the dataset is dropped within the block, and
        DatasetFailed.
        """
        with dropped_is_unknown(name):
            yield self._find(connection, name)

    def remembered(self, name: str) -> Dataset | None:
        """Return the dataset called ``name`` as it was when last met; ``is_applied`` says whether it still is so."""
        return self._known.get(name)

    def forget(self, name: str) -> None:
        self._known.pop(name)

    def _find(self, connection: Connection, name: str) -> AppliedDataset:
        known = self._known.get(name)
        if known is not None and is_applied(connection, known):
            return AppliedDataset(known, True)
        dataset = self._datasets.get(connection, name)
        if dataset.version_state != "applied":
            applied = repository.find_applied(connection, dataset.id)
            if applied is None:
                return AppliedDataset(dataset, False)
            dataset = replace(self._datasets.by_id(connection, dataset.id, applied["version"]), state=dataset.state)
        return AppliedDataset(self._known.put(name, dataset), True)


@contextlib.contextmanager
def dropped_is_unknown(name: str) -> Iterator[None]:
    """Raise UnknownDataset where a statement within the block finds the dataset's table gone."""
    try:
        yield
    except ProgrammingError as error:
        if not is_undefined_table(error):
            raise
        raise UnknownDataset(f"There is no dataset {shorten(name)}") from error
