"""Models of schedules in the OpenAPI document."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, Field

from gristmill.api.openapi.problems import Problem


class ScheduleLinks(BaseModel):
    """Paths: the schedule, its run-now, and its jobs."""

    self_: str = Field(alias="self")
    run_now: str
    jobs: str


class Schedule(BaseModel):
    """A schedule. words: its times in English. next_runs: five, none while it is paused. error: why it is paused.

    late: it is due and its job is not submitted. skipped: runs that were left out, as the job before had not ended.
    """

    name: str
    type: str
    args: dict[str, Any]
    cron: str | None
    every: str | None
    zone: str
    start: AwareDatetime
    words: str
    overlap: Literal["allow", "skip"]
    max_attempts: int | None
    labels: dict[str, str]
    priority: int
    state: Literal["running", "paused"]
    error: Problem | None
    next_runs: list[AwareDatetime]
    late: bool
    last_run_at: AwareDatetime | None
    last_job: str | None
    runs: int
    skipped: int
    created_by: str
    created_at: AwareDatetime
    links: ScheduleLinks


class SchedulePage(BaseModel):
    """Schedules, in the order of their names."""

    schedules: list[Schedule]
    next_page_token: str | None
