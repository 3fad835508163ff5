"""Near-duplicates as clients ask for them."""

import uuid
from typing import Any

from sqlalchemy import Connection

from gristmill.core.config import Settings
from gristmill.core.database import Database
from gristmill.datasets.creation import make_visible
from gristmill.datasets.ddl import record_table
from gristmill.datasets.errors import DatasetExists
from gristmill.datasets.keys import NoKey
from gristmill.datasets.lookup import DatasetLookup, scope_of
from gristmill.datasets.parents.above import attach_above
from gristmill.datasets.parents.closure import scopes_read_by
from gristmill.datasets.submit import submit_change
from gristmill.datasets.where import compile_where
from gristmill.images.duplicates.schemas import check_threshold, read_request, result_contract
from gristmill.jobs.admission import Admission
from gristmill.jobs.submit import NewJob, WriteRequest
from gristmill.search.errors import NotSearchable

DUPLICATES = "images.duplicates"


class ImageDuplicates:
    """Submits the job that finds near-duplicates."""

    def __init__(self, settings: Settings, database: Database, admission: Admission, reader: DatasetLookup) -> None:
        self._max_attempts = settings.jobs_max_attempts
        self._database = database
        self._admission = admission
        self._reader = reader

    def find(self, name: str, body: Any, request: WriteRequest) -> uuid.UUID:
        """Make the result's dataset visible, and submit the job that fills it. body: a DuplicatesRequest.

        Raises UnknownDataset, DatasetFailed; Invalid; NotSearchable without an embedding, NoKey; DatasetExists.
        """
        wanted = read_request(body)

        def work(connection: Connection) -> tuple[NewJob, uuid.UUID, int]:
            source = self._reader.get(connection, name)
            if source.contract.embedding is None:
                raise NotSearchable(f"The dataset {name} has no embedding, so no vectors to compare")
            if not source.contract.key:
                raise NoKey(f"The dataset {name} has no key, so its records could not be named as duplicates")
            check_threshold(source.contract.embedding, wanted.threshold)
            filtered = attach_above(connection, source.contract, wanted.where, visible=True)
            compile_where(wanted.where, filtered, record_table(filtered))
            made = make_visible(connection, result_contract(source.contract, wanted), {})
            if made is None:
                raise DatasetExists(f"There is a dataset {wanted.into} already")
            args = {
                "dataset_id": str(made[0]),
                "version": made[1],
                "source_id": str(source.id),
                "threshold": wanted.threshold,
                "where": wanted.where,
            }
            job = NewJob(
                type=DUPLICATES,
                scope=scope_of(wanted.into),
                exclusive=True,
                args=args,
                dataset=wanted.into,
                queue="long",
                max_attempts=self._max_attempts,
                # What was submitted before it is compared, and nothing that was submitted later.
                further_scopes={**scopes_read_by(wanted.where, filtered), source.scope: True},
            )
            return job, *made

        return submit_change(self._database, self._admission, request, work)
