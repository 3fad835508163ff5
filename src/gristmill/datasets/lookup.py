"""How other domains find datasets: by the name a client gave, or by the id and version that a job carries."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from gristmill.datasets import repository
from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.describe import shorten
from gristmill.datasets.errors import ChangeFailed, DatasetFailed, UnknownDataset
from gristmill.jobs.errors import JobDropped
from gristmill.jobs.submit import scope_of_dataset
from gristmill.kit.caches import SharedCache
from gristmill.kit.identifiers import is_name

DROPPED = "dataset dropped"


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset as of one version of its contract. ``version_state``: pending, applied or failed.

    hierarchy: rises when a dataset below gets parents; 0 where there has never been one below.
    """

    id: uuid.UUID
    name: str
    state: str
    version: int
    contract: Contract
    version_state: str = "applied"
    error: dict[str, Any] | None = None
    embedder_version: str | None = None
    created_at: datetime | None = None
    hierarchy: int = 0

    @property
    def scope(self) -> str:
        return scope_of(self.name)


def scope_of(name: str) -> str:
    """Return the scope of all jobs of datasets called ``name``."""
    return scope_of_dataset(name)


class DatasetLookup:
    """Reads datasets; contracts, which never change within a version, are parsed once per process."""

    def __init__(self, cached_versions: int = 1000) -> None:
        self._contracts: SharedCache[tuple[uuid.UUID, int], Contract] = SharedCache(cached_versions)

    def get(self, connection: Connection, name: str, lock: bool = False) -> Dataset:
        """Return the live dataset called ``name`` with its visible contract; its table may still be being created.

        lock: keep others from changing it until the transaction ends. Raises UnknownDataset, DatasetFailed.
        """
        dataset = self.find(connection, name, lock)
        if dataset.state == "failed":
            raise DatasetFailed(f"Creating the dataset {name} failed: {_why(dataset.error)}", error=dataset.error)
        return dataset

    def find(self, connection: Connection, name: str, lock: bool = False) -> Dataset:
        """Like ``get``, but return a dataset whose creation failed too."""
        # No dataset has a name of another form, and some texts cannot even be sent to Postgres (NUL).
        row = repository.find_live(connection, name, lock) if is_name(name) else None
        if row is not None and row["pending"]:
            repository.fail_abandoned(connection, row["id"])
            row = repository.find_live(connection, name, lock)
        if row is None:
            raise UnknownDataset(f"There is no dataset {shorten(name)}")
        return self._dataset(row)

    def list(self, connection: Connection, after: str, limit: int) -> list[Dataset]:
        """Return live datasets in the order of their names, those after ``after``."""
        rows = repository.list_live(connection, after, limit)
        pending = [row["id"] for row in rows if row["pending"]]
        for dataset_id in pending:
            repository.fail_abandoned(connection, dataset_id)
        return [self._dataset(row) for row in (repository.list_live(connection, after, limit) if pending else rows)]

    def names(self, connection: Connection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, tuple[str, bool]]:
        """Return of each dataset with one of these ids the name, and whether it is dropped."""
        found = repository.list_names(connection, ids)
        return {one: (name, state in ("dropping", "dropped")) for one, (name, state) in found.items()}

    def by_id(self, connection: Connection, dataset_id: uuid.UUID, version: int) -> Dataset:
        """Return a dataset in whatever state, with the contract of ``version``. Raises UnknownDataset."""
        row = repository.find_states(connection, dataset_id, version)
        if row is None:
            raise UnknownDataset(f"There is no version {version} of the dataset with the id {dataset_id}")
        return _dataset(row, self._loaded(connection, dataset_id, version), row["version_state"])

    def writable(self, connection: Connection, dataset_id: uuid.UUID, version: int) -> Dataset:
        """Return the dataset for a job to write to; call it in the transaction that writes.

        Raises JobDropped if it is dropped, DatasetFailed if its creation failed, ChangeFailed if the change that made
        ``version`` failed.
        """
        dataset = self.by_id(connection, dataset_id, version)
        if dataset.state in ("dropping", "dropped"):
            raise JobDropped(DROPPED)
        if dataset.state != "ready":
            repository.fail_abandoned(connection, dataset_id)
            dataset = self.by_id(connection, dataset_id, version)
            raise DatasetFailed(
                f"The dataset {dataset.name} was not created: {_why(dataset.error)}", error=dataset.error
            )
        if dataset.version_state != "applied":
            raise ChangeFailed(
                f"The records were checked against version {version} of the contract of {dataset.name}, and the "
                f"change that made it was not applied: {_why(dataset.error)}"
            )
        return dataset

    def _dataset(self, row: repository.Row) -> Dataset:
        contract = self._parsed(row["id"], row["version"], row["contract"])
        return _dataset(row, contract, "pending" if row["pending"] else "applied")

    def _loaded(self, connection: Connection, dataset_id: uuid.UUID, version: int) -> Contract:
        found = self._contracts.get((dataset_id, version))
        if found is not None:
            return found
        row = repository.find_version(connection, dataset_id, version)
        assert row is not None  # versions are never deleted
        return self._parsed(dataset_id, version, row["contract"])

    def _parsed(self, dataset_id: uuid.UUID, version: int, body: dict[str, Any]) -> Contract:
        found = self._contracts.get((dataset_id, version))
        return self._contracts.put((dataset_id, version), load_contract(body)) if found is None else found


def _dataset(row: repository.Row, contract: Contract, version_state: str) -> Dataset:
    return Dataset(
        id=row["id"],
        name=row["name"],
        state=row["state"],
        version=row["version"],
        contract=contract,
        version_state=version_state,
        error=row["error"],
        embedder_version=row["embedder_version"],
        created_at=row["created_at"],
        hierarchy=row["hierarchy"],
    )


def _why(error: dict[str, Any] | None) -> str:
    return str((error or {}).get("detail", "the reason is not known any more"))
