"""What the REST interface and other domains ask of jobs."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from gristmill.core.database import Database
from gristmill.core.page_tokens import read_id_token
from gristmill.jobs.cancel import cancel_job
from gristmill.jobs.errors import UnknownJob
from gristmill.jobs.idempotency import IdempotencyKey
from gristmill.jobs.notifications import Notifier
from gristmill.jobs.repository import read
from gristmill.jobs.repository.labels import MOST_JOBS, list_labels
from gristmill.jobs.retry import retry_job
from gristmill.jobs.schemas import job_body
from gristmill.kit.pagination import encode_page_token


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Conditions of a job list; None means any. ``labels`` must all be present with these values."""

    state: list[str] | None = None
    type: str | None = None
    dataset: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    created_after: datetime | None = None


class JobService:
    def __init__(self, database: Database, notifier: Notifier) -> None:
        self._database = database
        self._notifier = notifier

    def get(self, job_id: uuid.UUID) -> dict[str, Any]:
        """Return the job body. Raises UnknownJob."""
        found = self.get_all([job_id])
        if job_id not in found:
            raise UnknownJob(f"There is no job {job_id}")
        return found[job_id]

    def get_all(self, job_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[str, Any]]:
        """Return the bodies of those jobs that there are, by id."""
        with self._database.autocommit() as connection:
            return {row["id"]: job_body(row) for row in read.get_jobs(connection, job_ids)}

    def list(self, filters: JobFilter, page_size: int, page_token: str | None) -> dict[str, Any]:
        """Return a page of job bodies, newest first. Raises Malformed for a bad page token."""
        query = repr(filters)
        before = read_id_token(page_token, query)
        with self._database.autocommit() as connection:
            rows = read.list_jobs(
                connection,
                state=filters.state,
                type_=filters.type,
                dataset=filters.dataset,
                labels=dict(filters.labels),
                created_after=filters.created_after,
                before=before,
                limit=page_size + 1,
            )
        more = len(rows) > page_size
        rows = rows[:page_size]
        token = encode_page_token([str(rows[-1]["id"])], query) if more else None
        return {"jobs": [job_body(row) for row in rows], "next_page_token": token}

    def labels(self, dataset: str | None, type_: str | None, name: str | None, values: int) -> dict[str, Any]:
        """Return which labels jobs have, with their most frequent values and how many jobs have each.

        values: how many of each are listed. ``complete`` is false where only the newest jobs were looked at.
        """
        with self._database.autocommit() as connection:
            found, total, looked = list_labels(connection, dataset=dataset, type_=type_, name=name, values=values)
        labels = [
            {
                "name": label.name,
                "jobs": label.jobs,
                "values_total": label.values_total,
                "values": [{"value": value, "jobs": jobs} for value, jobs in label.values],
            }
            for label in found
        ]
        return {"labels": labels, "labels_total": total, "jobs": looked, "complete": looked < MOST_JOBS}

    def cancel(self, job_id: uuid.UUID, asked_by: str, key: IdempotencyKey | None = None) -> dict[str, Any]:
        """Cancel a job and return its body. key: under which it is done once. Raises UnknownJob, NotCancellable."""
        cancel_job(self._database, self._notifier, job_id, asked_by, key)
        return self.get(job_id)

    def retry(self, job_id: uuid.UUID, key: IdempotencyKey | None = None) -> dict[str, Any]:
        """Retry a job and return its body. key: as of ``cancel``. Raises UnknownJob, NotRetryable."""
        retry_job(self._database, self._notifier, job_id, key)
        return self.get(job_id)
