"""Taking in a few records at a time: checked where the request is read, and submitted together with its neighbours."""

import uuid

from gristmill.core.errors import GristmillError
from gristmill.datasets.contract import Contract
from gristmill.datasets.version_checks import VISIBLE
from gristmill.jobs.admission import Admission
from gristmill.jobs.group_commit import Together
from gristmill.jobs.repository.submit_together import Guard
from gristmill.jobs.submit import WriteRequest, may_share
from gristmill.records.ingest.service import IngestOptions, RecordIngest
from gristmill.records.readers import JSON
from gristmill.records.spool import BodySpool
from gristmill.records.submit import Submitter

# What of a body is checked in the event loop: about a millisecond's work. More would hold up the other requests. Values
# are what its records have together once absent fields are filled in; each number of a vector is one.
MOST_BYTES = 16 * 1024
MOST_VALUES = 5000
_TEXTS = frozenset({JSON, "application/x-ndjson", "application/ndjson", "application/jsonl"})
# The dataset is what clients see in the version that the records were checked against.
GUARD = Guard(VISIBLE, dataset_id="uuid", version="int")


class SmallIngest:
    """The short way of a small upsert. Whatever is not plain goes the long way, and is refused there if need be."""

    def __init__(self, writes: RecordIngest, submitter: Submitter, admission: Admission, together: Together) -> None:
        self._writes = writes
        self._submitter = submitter
        self._admission = admission
        self._together = together

    async def submit(
        self, name: str, body: BodySpool, media_type: str, options: IngestOptions, request: WriteRequest
    ) -> uuid.UUID | None:
        """Submit the records in ``body`` and return the id of the job, or None: ``RecordIngest.ingest`` decides.

        Raises DatabaseUnavailable.
        """
        plain = options == IngestOptions() and request.idempotency_key is None and request.run_at is None
        if not plain or body.size > MOST_BYTES or media_type not in _TEXTS:
            return None
        dataset = self._submitter.seen(name)
        if dataset is None:
            return None
        if _values(dataset.contract, body) > MOST_VALUES:
            return None
        try:
            job = self._writes.draft_small(dataset, body, media_type)
        except GristmillError:
            # It is checked once more: by the contract as it is now, and with every place that is wrong.
            return None
        chunk = next(iter(job.chunks)) if job is not None else None
        if job is None or chunk is None or not may_share(job, [(chunk.first_record, chunk.records)], chunk.payload):
            return None
        size = max(body.size, len(chunk.payload or b""))
        if not self._admission.admit(size):
            return None
        guarded = {"dataset_id": str(dataset.id), "version": dataset.version}
        job_id = None
        try:
            job_id = await self._together.submit(job, chunk, request, guarded)
        finally:
            if job_id is None:
                self._admission.give_back(size)
        return job_id


def _values(contract: Contract, body: BodySpool) -> int:
    """Return how many values the records in ``body`` have at most."""
    vectors = sum(field.dimensions or 0 for field in contract.fields)
    if contract.takes_vectors:
        vectors += contract.vector_dimensions or 0
    return body.open().read().count(b"{") * (len(contract.fields) + vectors)
