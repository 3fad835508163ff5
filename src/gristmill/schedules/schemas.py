"""What schedules look like as JSON, and what requests about them have."""

import itertools
import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gristmill.jobs.job_types.declaration import MOST_ATTEMPTS
from gristmill.kit.timestamps import rfc3339
from gristmill.schedules.repository import Schedule
from gristmill.schedules.states import ScheduleState

ROOT = "/api/v1/schedules"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
# Labels of each job of a schedule: its name, and the time that the job is for.
NAME_LABEL, TIME_LABEL = "schedule", "scheduled_for"
SHOWN_RUNS = 5

Name = Annotated[str, Field(min_length=1, max_length=63, pattern=f"^{NAME.pattern}$")]
Labels = Annotated[dict[str, str], Field(max_length=18)]
Priority = Annotated[int, Field(ge=0, le=9)]
Attempts = Annotated[int, Field(ge=1, le=MOST_ATTEMPTS)]
Text = Annotated[str, Field(min_length=1, max_length=200)]

EXAMPLE = {
    "name": "nightly-report",
    "type": "reports.daily",
    "args": {"dataset": "weather"},
    "cron": "30 6 * * MON-FRI",
    "zone": "Europe/Berlin",
}
INTERVAL_EXAMPLE = {"name": "refresh", "type": "reports.daily", "args": {"dataset": "weather"}, "every": "15m"}
PAUSE_EXAMPLE = {"state": "paused"}
TIMING_EXAMPLE = {"cron": "0 */2 * * *", "zone": "UTC"}


class NewSchedule(BaseModel):
    """A schedule to be created: one of ``cron`` and ``every``. args, max_attempts, labels, priority: of its jobs."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name = Field(description="a lower-case letter, then letters, digits, _ and -")
    type: Text = Field(description="one of GET /job-types")
    args: dict[str, Any] = Field(default_factory=dict, description="arguments, as the type's schema has them")
    cron: Text | None = Field(None, description="minute, hour, day of month, month, day of week")
    every: Text | None = Field(None, description="an interval from one second on: 15m, 1d, 1mo, PT90S")
    zone: Text = Field("UTC", description="the time zone of the clock that it goes by, such as Europe/Berlin")
    start: str | None = Field(
        None, description="RFC 3339 time: nothing runs before it, and intervals count from it; now without it"
    )
    overlap: Literal["allow", "skip"] = Field(
        "allow", description="skip: a run is left out while the job before it has not ended"
    )
    max_attempts: Attempts | None = None
    labels: Labels = Field(default_factory=dict, description="of its jobs, beside `schedule` and `scheduled_for`")
    priority: Priority = Field(5, description="of its jobs: 9 goes first")
    state: Literal["running", "paused"] = Field("running", description="paused: it waits to be resumed")


class ScheduleChange(BaseModel):
    """What is to be changed of a schedule. A cron takes the place of an interval, and the other way round."""

    model_config = ConfigDict(extra="forbid", strict=True)

    args: dict[str, Any] | None = Field(None, description="all of them anew")
    cron: Text | None = None
    every: Text | None = None
    zone: Text | None = None
    start: str | None = None
    overlap: Literal["allow", "skip"] | None = None
    max_attempts: Attempts | None = None
    labels: Labels | None = Field(None, description="all of them anew")
    priority: Priority | None = None
    state: Literal["running", "paused"] | None = Field(
        None, description="running: its next run is the first one after now"
    )


def schedule_body(schedule: Schedule, now: datetime) -> dict[str, Any]:
    """Return a schedule as its users see it. now: by the clock of Postgres."""
    runs = []
    if schedule.next_run_at is not None:
        following = schedule.timing.times(max(schedule.next_run_at, now))
        runs = [schedule.next_run_at, *itertools.islice(following, SHOWN_RUNS - 1)]
    return {
        "name": schedule.name,
        "type": schedule.type,
        "args": schedule.args,
        "cron": schedule.cron,
        "every": schedule.every,
        "zone": schedule.zone,
        "start": rfc3339(schedule.start),
        "words": schedule.timing.words(),
        "overlap": schedule.overlap,
        "max_attempts": schedule.max_attempts,
        "labels": schedule.labels,
        "priority": schedule.priority,
        "state": schedule.state,
        "error": schedule.error,
        "next_runs": [rfc3339(one) for one in runs],
        "late": schedule.state == ScheduleState.RUNNING and schedule.next_run_at is not None
        and (now - schedule.next_run_at).total_seconds() > 1,
        "last_run_at": rfc3339(schedule.last_run_at),
        "last_job": None if schedule.last_job is None else str(schedule.last_job),
        "runs": schedule.runs,
        "skipped": schedule.skipped,
        "created_by": schedule.created_by,
        "created_at": rfc3339(schedule.created_at),
        "links": {
            "self": f"{ROOT}/{schedule.name}",
            "run_now": f"{ROOT}/{schedule.name}/run-now",
            "jobs": f"/api/v1/jobs?label={NAME_LABEL}%3D{schedule.name}",
        },
    }  # fmt: skip
