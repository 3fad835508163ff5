"""Calls about jobs, and the way of every write: send, then perhaps wait for its job."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from gristmill.client._bodies import Body, json_body
from gristmill.client._paths import API, job_path
from gristmill.client._transport import Json, Transport, new_idempotency_key
from gristmill.client.errors import WaitTimeout, unsuccessful

Wait = bool | float
"""False: return the accepted job. True: wait until it is done. A number: wait at most that many seconds."""

Progress = Callable[[Json], None]
"""Called with the job at every look at it, the last one included."""

# Seconds that the server is asked to hold an answer: long where only the end matters, short where progress is shown.
_HOLD = 20.0
_HOLD_WITH_PROGRESS = 0.5
_MIN_PAUSE = 0.1


class JobCalls:
    """Submit jobs, look at them, wait for them, cancel and retry them."""

    _transport: Transport

    def job(self, job_id: str) -> Json:
        """Return a job. A failed job is an answer like any other; raises NotFound for an unknown id."""
        answer: Json = self._transport.call("GET", job_path(job_id))
        return answer

    def jobs(
        self,
        *,
        state: str | Sequence[str] | None = None,
        type: str | None = None,
        dataset: str | None = None,
        label: str | Sequence[str] | None = None,
        created_after: datetime | str | None = None,
        page_size: int | None = None,
    ) -> Iterator[Json]:
        """Yield jobs, newest first, page by page as they are asked for.

        Filters add up. ``state`` may be several states, any of which will do; ``label`` is ``name=value``, and of
        several all must hold.
        """
        if isinstance(created_after, datetime):
            created_after = created_after.isoformat()
        filters = {
            "state": state,
            "type": type,
            "dataset": dataset,
            "label": label,
            "created_after": created_after,
            "page_size": page_size,
        }
        return self._pages(f"{API}/jobs", filters, "jobs")

    def job_types(self) -> list[Json]:
        """Return the job types that may be submitted, each with the JSON Schema of its arguments (``args``)."""
        answer: list[Json] = self._transport.call("GET", f"{API}/job-types")["job_types"]
        return answer

    def plugins(self) -> list[Json]:
        """Return the plugins of the server; one that could not be loaded has an ``error``."""
        answer: list[Json] = self._transport.call("GET", f"{API}/job-types")["plugins"]
        return answer

    def submit_job(
        self,
        type: str,
        args: Mapping[str, Any] | None = None,
        *,
        max_attempts: int | None = None,
        priority: int | None = None,
        labels: Mapping[str, str] | None = None,
        run_at: datetime | str | None = None,
        delay: float | None = None,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Submit a job of one of the ``job_types`` and return it; done, its ``result`` is what its function returned.

        args: what the type's schema has; times, dates, decimals and UUIDs are sent as texts.
        max_attempts: how often it is tried; without it what the type says.
        priority, labels, run_at, idempotency_key: as of ``submit``. delay: seconds from now, instead of run_at.
        Raises InvalidRequest with the pointer of each argument that does not fit, Forbidden if the type needs more than
        the key may do.
        """
        options = {
            "max_attempts": max_attempts,
            "priority": priority,
            "labels": None if labels is None else dict(labels),
            "run_at": run_at.isoformat() if isinstance(run_at, datetime) else run_at,
            "delay": delay,
        }
        given = {name: value for name, value in options.items() if value is not None}
        body = json_body({"type": type, "args": dict(args or {}), **given})
        return self._write("POST", f"{API}/jobs", body, wait, on_progress, idempotency_key)

    def labels(
        self,
        *,
        dataset: str | None = None,
        type: str | None = None,
        name: str | None = None,
        values: int | None = None,
    ) -> Json:
        """Return the labels that jobs have, with their values and how many jobs have each.

        name: this label alone. values: how many values of each are listed, 20 unless given.
        """
        filters = {"dataset": dataset, "type": type, "name": name, "values": values}
        answer: Json = self._transport.call("GET", f"{API}/jobs/labels", params=filters)
        return answer

    def wait(self, job_id: str, timeout: float | None = None, on_progress: Progress | None = None) -> Json:
        """Wait until the job is done and return it.

        timeout: seconds; None waits for as long as it takes.
        Raises JobFailed, JobCancelled, or WaitTimeout; each carries the job.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        hold = 0.0
        while True:
            began = time.monotonic()
            job: Json = self._transport.call("GET", job_path(job_id), params={"wait": hold or None}, hold=hold)
            if on_progress is not None:
                on_progress(job)
            if job["done"]:
                return self._finished(job)
            now = time.monotonic()
            remaining = float("inf") if deadline is None else deadline - now
            if remaining <= 0:
                raise WaitTimeout(f"job {job_id} is still {job['state']} after waiting {timeout:.3g} s", job)
            # A server may hold answers for less than it was asked to; it must not be asked without a pause then.
            if hold and now - began < _MIN_PAUSE:
                self._pause(min(_MIN_PAUSE, remaining))
            hold = min(_HOLD if on_progress is None else _HOLD_WITH_PROGRESS, max(remaining, 0.001))

    def cancel(self, job_id: str) -> Json:
        """Ask for a job to be cancelled and return it. Raises Conflict if it is done."""
        return self._write("POST", job_path(job_id, "cancel"), None)

    def retry(self, job_id: str, *, wait: Wait = False, on_progress: Progress | None = None) -> Json:
        """Run the failed chunks of a job again and return it. Raises Conflict if it cannot be retried."""
        return self._write("POST", job_path(job_id, "retry"), None, wait, on_progress)

    def _write(
        self,
        method: str,
        path: str,
        body: Body | None,
        wait: Wait = False,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
        params: Mapping[str, object] | None = None,
        if_match: str | None = None,
    ) -> Json:
        """Send a write, repeatable by its Idempotency-Key, and wait for its job if asked to."""
        limit = None if isinstance(wait, bool) else float(wait)
        # Where nobody looks at the progress, the answer to the write itself can be the finished job.
        hold = 0.0 if wait is False or on_progress is not None else min(_HOLD, _HOLD if limit is None else limit)
        began = time.monotonic()
        job: Json = self._transport.call(
            method,
            path,
            params={**(params or {}), "wait": hold or None},
            body=body,
            idempotency_key=idempotency_key or new_idempotency_key(),
            if_match=if_match,
            hold=hold,
        )
        if wait is False:
            return job
        if on_progress is not None:
            on_progress(job)
        if job["done"]:
            return self._finished(job)
        remaining = None if limit is None else max(0.0, limit - (time.monotonic() - began))
        return self.wait(job["id"], remaining, on_progress)

    def _pages(self, path: str, params: Mapping[str, object], member: str) -> Iterator[Json]:
        token: str | None = None
        while True:
            page: Json = self._transport.call("GET", path, params={**params, "page_token": token})
            yield from page[member]
            token = page.get("next_page_token")
            if not token:
                return

    def _pause(self, seconds: float) -> None:
        self._transport.sleep(seconds)

    @staticmethod
    def _finished(job: Json) -> Json:
        error = unsuccessful(job)
        if error is not None:
            raise error
        return job
