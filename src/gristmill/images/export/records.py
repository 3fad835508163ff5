"""The records of a chunk, read by their keys: a bounded number of bytes at a time, no connection held in between."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Contended
from gristmill.datasets.applied import AppliedDatasets
from gristmill.datasets.contract import Contract
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.lookup import DROPPED, DatasetLookup
from gristmill.images.export.errors import ContractMoved
from gristmill.images.export.repository.rows import ExportedRow, read_rows, read_sizes
from gristmill.images.export.selection import keys_of
from gristmill.jobs.errors import JobDropped
from gristmill.jobs.handlers import ChunkTask

Key = tuple[Any, ...]
# Bytes that records have together which are in memory; one that is larger is read alone.
_BYTES = 4 * 1024 * 1024


class ExportedDatasets:
    """Finds the dataset of a chunk."""

    def __init__(self, database: Database, datasets: DatasetLookup) -> None:
        self._database = database
        self._datasets = datasets
        self._applied = AppliedDatasets(datasets)

    def open(self, task: ChunkTask) -> "ChunkRecords":
        """Return the records of a chunk. Raises JobDropped where their dataset is gone, ContractMoved."""
        dataset_id, version = uuid.UUID(task.args["dataset_id"]), task.args["contract_version"]
        with self._database.autocommit() as connection:
            submitted = self._datasets.by_id(connection, dataset_id, version)
        if submitted.state != "ready":
            raise JobDropped(DROPPED)
        keys = keys_of(submitted.contract, task.payload)
        return ChunkRecords(
            self._database,
            self._applied,
            dataset_id,
            submitted.contract,
            submitted.name,
            keys,
            task.args["fields"],
            task.args["field"],
        )


class ChunkRecords:
    """contract: under which the keys were read. fields: of metadata.csv. image: the field of the images."""

    def __init__(
        self,
        database: Database,
        applied: AppliedDatasets,
        dataset_id: uuid.UUID,
        contract: Contract,
        name: str,
        keys: Sequence[Key],
        fields: Sequence[str],
        image: str,
    ) -> None:
        self._database = database
        self._applied = applied
        self._dataset_id = dataset_id
        self._name = name
        self._keys = keys
        self._fields = fields
        self.contract = contract
        self.image = image

    def read(self) -> Iterator[tuple[Key, ExportedRow | None]]:
        """Yield each key with its record, None where that was deleted. Raises Contended, ContractMoved."""
        if not self._keys:
            return
        names = list(dict.fromkeys([*self._fields, self.image]))
        sizes: list[int] = self._reading(partial(read_sizes, keys=self._keys, names=names))
        start = 0
        while start < len(self._keys):
            end, total = start + 1, sizes[start]
            while end < len(self._keys) and total + sizes[end] <= _BYTES:
                total += sizes[end]
                end += 1
            group = self._keys[start:end]
            rows: list[ExportedRow | None] = self._reading(
                partial(read_rows, keys=group, names=self._fields, image=self.image)
            )
            yield from zip(group, rows, strict=True)
            start = end

    def _reading(self, read: Callable[[Connection, Contract], Any]) -> Any:
        """Read from the table, with the contract that it has now."""
        try:
            with (
                self._database.autocommit() as connection,
                self._applied.reading(connection, self._name) as found,
            ):
                if found.dataset.id != self._dataset_id:
                    raise UnknownDataset("The dataset was renamed or dropped, and another one has its name")
                _check(self.contract, found.dataset.contract, [*self.contract.key, *self._fields, self.image])
                return read(connection, found.dataset.contract)
        except UnknownDataset as error:
            # Its new name is looked up by the next attempt, which ends the job where the dataset is gone.
            raise Contended(f"The dataset {self._name} has another name now, or is dropped") from error


def _check(before: Contract, now: Contract, names: Sequence[str]) -> None:
    if before.key != now.key:
        raise ContractMoved("The key of the dataset is another one than when the export was asked for")
    for name in names:
        if not now.has_field(name):
            raise ContractMoved(f"The field {name} was dropped after the export was asked for")
        if now.field(name).type != before.field(name).type:
            raise ContractMoved(f"The field {name} got the type {now.field(name).type} after the export was asked for")
