"""Batches become jobs, in the transaction that moves the position of their source under its lease."""

import uuid
from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Invalid
from gristmill.core.http.bodies import ARROW
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.jobs.notifications import Notifier
from gristmill.jobs.submit import WriteRequest
from gristmill.kit.caches import SharedCache
from gristmill.kit.ids import uuid7
from gristmill.records.ingest.service import IngestOptions, RecordIngest
from gristmill.records.spool import BodySpool, Spool
from gristmill.records.submit import Draft, Submitted, Submitter, Write
from gristmill.sources.batching import MAX_BATCH_BYTES, Batch, as_lines
from gristmill.sources.drops import dataset_dropped
from gristmill.sources.errors import LeaseLost
from gristmill.sources.figures import Figures
from gristmill.sources.repository import leases
from gristmill.sources.repository.leases import Advance, Leased

# The label of every job of a source, with its name.
LABEL = "source"
_REMEMBERED = 1000
# Records of a batch are at most so much larger as a body: a single record may be beyond the size of a batch.
_MOST_BYTES = 8 * MAX_BATCH_BYTES


def principal_of_source(name: str) -> str:
    """Return who submits the jobs of a source."""
    return f"source:{name}"


class BatchSubmitter:
    """Submits the batches of sources, validated by the contract as the records of any request are.

    lease: seconds for which each commit renews the lease.
    """

    def __init__(
        self,
        database: Database,
        datasets: DatasetLookup,
        ingest: RecordIngest,
        submitter: Submitter,
        spool: Spool,
        notifier: Notifier,
        lease: float,
    ) -> None:
        self._database = database
        self._datasets = datasets
        self._ingest = ingest
        self._submitter = submitter
        self._spool = spool
        self._notifier = notifier
        self._lease = lease
        self._names: SharedCache[uuid.UUID, str] = SharedCache(_REMEMBERED)

    def submit(self, source: Leased, batches: Sequence[Batch], figures: Figures) -> Leased:
        """Submit batches in their order, each as one job, all in one transaction; return the source after them.

        figures: of the source, once these are committed. Raises LeaseLost, SourceFailed when the dataset is dropped,
        DatasetFailed, TooLarge for a batch that a pipeline does not take as a whole, and TooMany, Unavailable while
        nothing can be submitted: nothing of it was then.
        """
        bodies: list[BodySpool] = []
        moved: list[Leased] = []

        def also(connection: Connection, jobs: Sequence[Submitted]) -> None:
            moved.append(self._advance(connection, source, batches, jobs, figures))

        try:
            name = self._name(source)
            writes = []
            for batch in batches:
                writes.append((self._write(source, name, batch, bodies), self._request(source)))
            self._submitter.submit_in_order(writes, also)
        except UnknownDataset:
            # It is dropped, or has another name: that is asked for at the next attempt.
            self._names.pop(source.dataset_id)
            raise
        finally:
            for body in bodies:
                body.close()
        self._notifier.due()
        return moved[-1]

    def _name(self, source: Leased) -> str:
        """Return what the dataset is called now. Raises SourceFailed when it is dropped."""
        known = self._names.get(source.dataset_id)
        if known is not None:
            return known
        with self._database.autocommit() as connection:
            name, dropped = self._datasets.names(connection, [source.dataset_id]).get(source.dataset_id, ("", True))
        if dropped:
            raise dataset_dropped(name)
        return self._names.put(source.dataset_id, name)

    def _write(self, source: Leased, name: str, batch: Batch, bodies: list[BodySpool]) -> Write:
        """Return the write of a batch. bodies: takes what has to be closed in the end."""
        write = self._plain(name, batch, bodies)

        def draft(dataset: Dataset) -> Draft:
            if dataset.id != source.dataset_id:
                # It was dropped or renamed a moment ago, and another one has its name now.
                raise UnknownDataset(f"The dataset {name} is not that of the source {source.name} any more")
            try:
                return write.draft(dataset)
            except Invalid:
                if batch.media_type != ARROW:
                    raise
                # Columns that do not fit refuse a table as a whole: each of its records is judged by itself.
                return self._plain(name, as_lines(batch), bodies).draft(dataset)

        return replace(write, draft=draft, quick=lambda _: False)

    def _plain(self, name: str, batch: Batch, bodies: list[BodySpool]) -> Write:
        body = BodySpool(self._spool, max(_MOST_BYTES, len(batch.body)), None)
        bodies.append(body)
        body.write(batch.body)
        options = IngestOptions(quarantine=True, refused=batch.rejects, most_rejects=batch.items)
        return self._ingest.write(name, body, batch.media_type, options)

    def _request(self, source: Leased) -> WriteRequest:
        return WriteRequest(
            principal=principal_of_source(source.name),
            request_id=str(uuid7()),
            priority=source.priority,
            labels={**source.labels, LABEL: source.name},
        )

    def _advance(
        self,
        connection: Connection,
        source: Leased,
        batches: Sequence[Batch],
        jobs: Sequence[Submitted],
        figures: Figures,
    ) -> Leased:
        rejected = sum(submitted.job.rejected for submitted in jobs)
        items = sum(batch.items for batch in batches)
        last: uuid.UUID = jobs[-1].id
        step = Advance(batches[-1].position, len(batches), items - rejected, rejected, last)
        counted = leases.advance(connection, source, step, figures, self._lease)
        if counted is None:
            raise LeaseLost(f"the source {source.name} is not this runner's any more, or goes on from elsewhere")
        return replace(source, batches=counted, position=dict(batches[-1].position))
