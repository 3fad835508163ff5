"""Which dataset a read is about, and with which contract its table can be read now."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from sqlalchemy import Connection
from sqlalchemy.exc import ProgrammingError

from gristmill.datasets import repository
from gristmill.datasets.describe import shorten
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.reader import Dataset, DatasetReader


@dataclass(frozen=True, slots=True)
class Readable:
    """A dataset with the contract that its table has. ``has_table``: false while the dataset is being created."""

    dataset: Dataset
    has_table: bool


@contextlib.contextmanager
def reading(connection: Connection, datasets: DatasetReader, name: str) -> Iterator[Readable]:
    """Yield the dataset called ``name`` to be read within the block.

    A change of the contract is visible at once but its columns only exist once its job is done; until then the contract
    before it is read by. Raises UnknownDataset, also when the dataset is dropped within the block, and DatasetFailed.
    """
    dataset = datasets.get(connection, name)
    has_table = True
    if dataset.version_state != "applied":
        applied = repository.find_applied(connection, dataset.id)
        has_table = applied is not None
        if applied is not None:
            dataset = replace(datasets.by_id(connection, dataset.id, applied["version"]), state=dataset.state)
    with dropped_is_unknown(name):
        yield Readable(dataset, has_table)


@contextlib.contextmanager
def dropped_is_unknown(name: str) -> Iterator[None]:
    """Raise UnknownDataset where a statement within the block finds the dataset's table gone."""
    try:
        yield
    except ProgrammingError as error:
        # 42P01, undefined_table: it was dropped in between.
        if getattr(error.orig, "pgcode", None) != "42P01":
            raise
        raise UnknownDataset(f"There is no dataset {shorten(name)}") from error
