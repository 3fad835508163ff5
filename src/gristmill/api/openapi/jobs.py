"""Models of jobs in the OpenAPI document; tests hold the answers of a running API against them."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, Field

from gristmill.api.openapi.problems import Problem
from gristmill.core.errors import Violation
from gristmill.core.permissions import Permission
from gristmill.jobs.states import JobState


class RecordCounts(BaseModel):
    """Records of a job: total = succeeded + rejected + superseded + dropped, once it has succeeded."""

    total: int
    succeeded: int
    rejected: int
    superseded: int
    dropped: int


class ChunkCounts(BaseModel):
    """Chunks of a job: the parts that one worker commits in one transaction each."""

    total: int
    done: int
    failed: int
    cancelled: int


class JobLinks(BaseModel):
    """Paths of the calls about a job. rejects: only where records were rejected."""

    self_: str = Field(alias="self")
    cancel: str
    retry: str
    rejects: str | None = None


class Job(BaseModel):
    """One accepted write. error: why it failed. result: what its handler returned."""

    id: str
    type: str
    dataset: str | None
    state: JobState
    done: bool
    progress: float = Field(ge=0, le=1)
    record_counts: RecordCounts
    chunks: ChunkCounts
    attempt: int
    max_attempts: int
    priority: int = Field(ge=0, le=9)
    queue: str
    labels: dict[str, str]
    submitted_by: str
    request_id: str
    retry_of: str | None
    retried_by: list[str]
    error: Problem | None
    result: Any
    created_at: AwareDatetime
    run_at: AwareDatetime | None
    started_at: AwareDatetime | None
    finished_at: AwareDatetime | None
    links: JobLinks


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[Job]
    next_page_token: str | None


class LabelValue(BaseModel):
    """A value of a label, and how many jobs have it."""

    value: str
    jobs: int


class Label(BaseModel):
    """A label. values: the most frequent ones; values_total: how many there are."""

    name: str
    jobs: int
    values_total: int
    values: list[LabelValue]


class Labels(BaseModel):
    """Labels by name. jobs: how many were looked at, the newest ones; complete: these were all."""

    labels: list[Label]
    labels_total: int
    jobs: int
    complete: bool


class Reject(BaseModel):
    """A record that was kept aside. raw: what was sent; values: its members, where they could be told apart."""

    record: int
    line: int | None
    errors: list[Violation]
    errors_total: int
    raw: str
    raw_encoding: Literal["utf-8", "base64"]
    values: dict[str, Any] | None = None


class RejectPage(BaseModel):
    """Rejects of a job in the order of its records."""

    rejects: list[Reject]
    next_page_token: str | None


class JobTypeInfo(BaseModel):
    """A job type that may be submitted. args: the JSON Schema of its arguments.

    permission: what a key needs to submit it. dataset, scopes: what its jobs are ordered within; names in braces stand
    for arguments.
    """

    name: str
    title: str
    description: str
    queue: str
    permission: Permission
    max_attempts: int
    idempotent: bool
    dataset: str | None
    exclusive: bool
    scopes: dict[str, Literal["shared", "exclusive"]]
    args: dict[str, Any]


class PluginInfo(BaseModel):
    """A plugin of the API process. error: why it could not be loaded."""

    name: str
    named_by: str
    state: Literal["loaded", "failed"]
    job_types: list[str]
    error: str | None


class JobTypeList(BaseModel):
    """The job types, by name, and the plugins that they come from."""

    job_types: list[JobTypeInfo]
    plugins: list[PluginInfo]
