"""What clients ask of recall: to have it learnt and measured now."""

import uuid

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.jobs.admission import Admission
from gristmill.jobs.submit import NewJob, WriteRequest, submit_once
from gristmill.search.index.service import IndexService
from gristmill.search.recall.tasks import index_recall


class RecallService:
    """The recall of one dataset, as its owner has it measured."""

    def __init__(self, database: Database, indexes: IndexService, admission: Admission) -> None:
        self._database = database
        self._indexes = indexes
        self._admission = admission

    def tune(self, name: str, request: WriteRequest) -> uuid.UUID:
        """Submit the job that learns the curve of every graph and measures what searches find.

        Raises UnknownDataset, DatasetFailed, NotSearchable, Conflict while the dataset is made, and TooMany.
        """
        self._admission.check()

        def work(connection: Connection) -> NewJob:
            dataset = self._indexes.find(connection, name)
            return index_recall(dataset.id, dataset.name)

        return submit_once(self._database, request, work)
