"""Models of sources in the OpenAPI document."""

from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, Field

State = Literal["running", "paused", "failed", "finished"]


class SourceKind(BaseModel):
    """A kind of sources. settings: the JSON Schema of its settings."""

    kind: str
    summary: str
    settings: dict[str, Any]


class SourceKindList(BaseModel):
    """All kinds."""

    source_kinds: list[SourceKind]


class Lag(BaseModel):
    """What a source has emitted and no job has: how many records, and for how many seconds the oldest was ready."""

    seconds: float
    records: int


class SourceLinks(BaseModel):
    """Paths: the source, its dataset, and its jobs."""

    self_: str = Field(alias="self")
    dataset: str | None
    jobs: str


class Source(BaseModel):
    """A source. rate: records per second. waits_for: what keeps it from going on. runner: the process that reads it."""

    name: str
    kind: str
    dataset: str | None
    state: State
    waits_for: str | None
    settings: dict[str, Any]
    labels: dict[str, str]
    priority: int
    position: dict[str, Any] | None
    batches: int
    records: int
    rejected: int
    rate: float
    lag: Lag | None
    failures: int
    last_error: dict[str, Any] | None
    last_error_at: AwareDatetime | None
    last_batch_at: AwareDatetime | None
    last_job: str | None
    runner: str | None
    created_by: str
    created_at: AwareDatetime
    links: SourceLinks


class SourcePage(BaseModel):
    """Sources, in the order of their names."""

    sources: list[Source]
    next_page_token: str | None
