"""What clients ask of datasets: create, alter, drop (as exclusive jobs), get and list."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Contended
from gristmill.core.page_tokens import bad_page_token, read_page_token
from gristmill.datasets import repository, sizes
from gristmill.datasets.contract import Contract
from gristmill.datasets.contract_parser import alter_contract, parse_contract
from gristmill.datasets.creation import make_visible
from gristmill.datasets.differences import refuse_other
from gristmill.datasets.embedders import known_embedders
from gristmill.datasets.errors import ChangeUnderWay, DatasetExists, DatasetFailed, UnknownDataset
from gristmill.datasets.extensions import DatasetExtension
from gristmill.datasets.lookup import Dataset, DatasetLookup, scope_of
from gristmill.datasets.parents.declare import begin_relations, finder, refuse_for_children, refuse_unfit_parent
from gristmill.datasets.schemas import Tags, check_contract, dataset_body
from gristmill.datasets.submit import Work, submit_change
from gristmill.embeddings.registry import EmbedderRegistry
from gristmill.jobs.admission import Admission
from gristmill.jobs.submit import NewJob, WriteRequest
from gristmill.kit.pagination import encode_page_token
from gristmill.transforms.registry import StepRegistry

CREATE, ALTER, DROP = "dataset.create", "dataset.alter", "dataset.drop"
_LIST_QUERY = "datasets"
# A name that changes hands more often while one request is being worked on is changed by a machine gone wild.
_TRIES = 3


class DatasetService:
    """Each method that changes something submits one job and returns its id."""

    def __init__(
        self,
        database: Database,
        admission: Admission,
        reader: DatasetLookup,
        embedders: EmbedderRegistry,
        *,
        default_embedder: str,
        steps: StepRegistry,
        extensions: Sequence[DatasetExtension],
    ) -> None:
        self._database = database
        self._admission = admission
        self._reader = reader
        self._default_embedder = default_embedder
        self._embedders = embedders
        self._steps = steps
        self._extensions = extensions

    def create(self, body: Any, request: WriteRequest, if_not_exists: bool = False) -> uuid.UUID:
        """Check the contract, make the dataset visible and submit the job that creates its table.

        if_not_exists: where a dataset of the name has this contract, submit a job that says so. Raises Invalid,
        DatasetExists, ContractDiffers, EmbedderNotInstalled.
        """

        def work(connection: Connection) -> tuple[NewJob, uuid.UUID, int | None]:
            contract = self._parse(connection, body)
            further = begin_relations(connection, self._reader, contract)
            for _ in range(_TRIES):
                made = make_visible(connection, contract, self._embedder_of(contract))
                if made is not None:
                    return _job(CREATE, contract.name, *made, further), *made
                if not if_not_exists:
                    raise DatasetExists(f"There is a dataset {contract.name} already")
                try:
                    present = self._reader.get(connection, contract.name)
                except (UnknownDataset, DatasetFailed):
                    # It was dropped, or has failed, after the insertion had waited for it.
                    continue
                refuse_other(contract, present.contract)
                return _presence(present), present.id, None
            raise Contended(f"The name {contract.name} was taken and given free {_TRIES} times meanwhile")

        return self._submit(request, work)

    def check_contract(self, body: Any) -> Contract:
        """Return the contract that ``body`` describes. Raises Invalid, EmbedderNotInstalled."""
        with self._database.autocommit() as connection:
            return self._parse(connection, body)

    def _parse(self, connection: Connection, body: Any) -> Contract:
        embedders = known_embedders(body, self._default_embedder, self._embedders)
        find = finder(connection, self._reader)
        return parse_contract(body, embedders, self._default_embedder, self._steps, find)

    def alter(self, name: str, change: Any, request: WriteRequest, if_match: Tags = None) -> uuid.UUID:
        """Check the change, make the new version visible and submit the job that changes the table.

        if_match: ETags, of which the dataset's must be one: the row is locked when they are compared, and the new
        version is visible in the same transaction. Raises Invalid, UnknownDataset, DatasetFailed, PreconditionFailed,
        ChangeUnderWay, HasChildren.
        """

        def work(connection: Connection) -> tuple[NewJob, uuid.UUID, int]:
            dataset = self._reader.get(connection, name, lock=True)
            check_contract(dataset, if_match)
            if dataset.version_state == "pending" and repository.is_being_renamed(connection, dataset.id):
                raise ChangeUnderWay(f"The dataset {name} is being renamed: change it when that has ended")
            new = alter_contract(dataset.contract, change, self._steps, finder(connection, self._reader))
            further = begin_relations(connection, self._reader, new, dataset.contract)
            if dataset.hierarchy:
                refuse_unfit_parent(connection, self._reader, new)
            contract = new.as_json()
            version = repository.insert_version(connection, dataset.id, contract)
            repository.show_version(connection, dataset.id, version, contract)
            return _job(ALTER, name, dataset.id, version, further), dataset.id, version

        return self._submit(request, work)

    def drop(self, name: str, request: WriteRequest, if_match: Tags = None) -> uuid.UUID:
        """Hide the dataset, which frees its name, and submit the job that drops its table.

        if_match: as of ``alter``. Raises UnknownDataset, PreconditionFailed, HasChildren.
        """

        def work(connection: Connection) -> tuple[NewJob, uuid.UUID, None]:
            dataset = self._reader.find(connection, name, lock=True)
            check_contract(dataset, if_match)
            if dataset.hierarchy:
                refuse_for_children(connection, name, "dropped")
            repository.set_state(connection, dataset.id, "dropping")
            return _job(DROP, name, dataset.id, dataset.version), dataset.id, None

        return self._submit(request, work)

    def _submit(self, request: WriteRequest, work: Work) -> uuid.UUID:
        return submit_change(self._database, self._admission, request, work)

    def _embedder_of(self, contract: Contract) -> dict[str, Any]:
        if contract.embedding is None or contract.embedding.embedder is None:
            return {}
        name, version, dimensions = self._embedders.describe(contract.embedding.embedder)
        return {"embedder_name": name, "embedder_version": version, "embedder_dimensions": dimensions}

    def get(self, name: str) -> dict[str, Any]:
        """Return the body of one dataset, its rows counted. Raises UnknownDataset."""
        with self._database.autocommit() as connection:
            dataset = self._reader.find(connection, name)
            return self._body(connection, dataset, sizes.measure(connection, dataset.name))

    def list(self, page_size: int, page_token: str | None) -> dict[str, Any]:
        """Return a page of dataset bodies by name. Raises Malformed for a bad page token."""
        after = ""
        if page_token is not None:
            (after,) = read_page_token(page_token, _LIST_QUERY, str)
            if "\0" in after:
                raise bad_page_token()
        with self._database.autocommit() as connection:
            found = self._reader.list(connection, after, page_size + 1)
            listed = found[:page_size]
            # Rows are estimated here: to count those of two hundred datasets takes minutes.
            measured = sizes.estimate(connection, [dataset.name for dataset in listed])
            bodies = [self._body(connection, dataset, measured.get(dataset.name, sizes.NOTHING)) for dataset in listed]
        token = encode_page_token([found[page_size - 1].name], _LIST_QUERY) if len(found) > page_size else None
        return {"datasets": bodies, "next_page_token": token}

    def _body(self, connection: Connection, dataset: Dataset, measured: sizes.Sizes) -> dict[str, Any]:
        if dataset.state != "ready":
            # A table of the name, if there is one, is an earlier dataset's or somebody else's.
            return dataset_body(dataset, sizes.NOTHING, {one.name: None for one in self._extensions})
        return dataset_body(dataset, measured, {one.name: one.state(connection, dataset) for one in self._extensions})


def _presence(dataset: Dataset) -> NewJob:
    """Return the job that says that a dataset is there. It waits for nothing but the creation, where that goes on."""
    job = _job(CREATE, dataset.name, dataset.id, dataset.version)
    scope = job.scope if dataset.state == "creating" else f"presence:{dataset.id}"
    return replace(job, scope=scope, exclusive=False, args={**job.args, "present": True})


def _job(type_: str, name: str, dataset_id: uuid.UUID, version: int, further: dict[str, bool] | None = None) -> NewJob:
    return NewJob(
        type=type_,
        scope=scope_of(name),
        exclusive=True,
        args={"dataset_id": str(dataset_id), "version": version},
        dataset=name,
        further_scopes=further or {},
    )
