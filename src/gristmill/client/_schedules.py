"""Schedules: jobs that are submitted at their times."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from gristmill.client._bodies import json_body
from gristmill.client._jobs import JobCalls, Progress, Wait
from gristmill.client._parameters import given, time_text
from gristmill.client._paths import API, schedule_path
from gristmill.client._transport import Json, new_idempotency_key


class ScheduleCalls(JobCalls):
    """Create, list, look at, change, pause, resume, run and delete schedules."""

    def create_schedule(
        self,
        name: str,
        type: str,
        args: Mapping[str, Any] | None = None,
        *,
        cron: str | None = None,
        every: str | None = None,
        zone: str | None = None,
        start: datetime | str | None = None,
        overlap: str | None = None,
        max_attempts: int | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        paused: bool = False,
        idempotency_key: str | None = None,
    ) -> Json:
        """Create a schedule of jobs of a type and return it with its next runs.

        cron: "30 6 * * MON-FRI", or every: "15m", "1d", "1mo". zone: the clock that it goes by; UTC without it.
        start: nothing runs before it, and intervals count from it. overlap: "skip" leaves a run out while the job
        before it has not ended. max_attempts, labels, priority: of its jobs.
        Raises InvalidRequest naming what does not fit, Conflict if the name is taken, Forbidden if the type needs more
        than the key may do.
        """
        body = json_body(
            given(
                name=name,
                type=type,
                args=args,
                cron=cron,
                every=every,
                zone=zone,
                start=time_text(start),
                overlap=overlap,
                max_attempts=max_attempts,
                labels=labels,
                priority=priority,
                state="paused" if paused else None,
            )
        )
        key = idempotency_key or new_idempotency_key()
        answer: Json = self._transport.call("POST", f"{API}/schedules", body=body, idempotency_key=key)
        return answer

    def schedules(self, *, type: str | None = None, state: str | None = None) -> Iterator[Json]:
        """Yield schedules in the order of their names. type, state: those of it, or in it, only."""
        return self._pages(f"{API}/schedules", {"type": type, "state": state}, "schedules")

    def schedule(self, name: str) -> Json:
        """Return a schedule: next runs, last job, and why it is paused. Raises NotFound."""
        answer: Json = self._transport.call("GET", schedule_path(name))
        return answer

    def change_schedule(
        self,
        name: str,
        *,
        args: Mapping[str, Any] | None = None,
        cron: str | None = None,
        every: str | None = None,
        zone: str | None = None,
        start: datetime | str | None = None,
        overlap: str | None = None,
        max_attempts: int | None = None,
        labels: Mapping[str, str] | None = None,
        priority: int | None = None,
        state: str | None = None,
    ) -> Json:
        """Change a schedule and return it. What is not given stays; ``args`` and ``labels`` are all of them anew.

        state: "paused" or "running". Raises NotFound, InvalidRequest, Forbidden.
        """
        body = json_body(
            given(
                args=args,
                cron=cron,
                every=every,
                zone=zone,
                start=time_text(start),
                overlap=overlap,
                max_attempts=max_attempts,
                labels=labels,
                priority=priority,
                state=state,
            )
        )
        answer: Json = self._transport.call("PATCH", schedule_path(name), body=body)
        return answer

    def pause_schedule(self, name: str) -> Json:
        """Pause a schedule and return it: nothing is submitted until it is resumed. Raises NotFound."""
        return self.change_schedule(name, state="paused")

    def resume_schedule(self, name: str) -> Json:
        """Let a schedule go on from its first time after now, and return it. Raises NotFound."""
        return self.change_schedule(name, state="running")

    def run_schedule(self, name: str, *, wait: Wait = False, on_progress: Progress | None = None) -> Json:
        """Submit a job of a schedule now and return it; the next run stays when it is. Raises NotFound."""
        return self._write("POST", schedule_path(name, "run-now"), None, wait, on_progress)

    def delete_schedule(self, name: str) -> None:
        """Delete a schedule; its jobs stay. Raises NotFound."""
        self._transport.call("DELETE", schedule_path(name))
