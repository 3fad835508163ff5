"""What sources look like as JSON, and what requests about them have."""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gristmill.kit.timestamps import rfc3339
from gristmill.sources.repository.requests import Source
from gristmill.sources.states import SourceState

ROOT = "/api/v1/sources"
NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
Name = Annotated[str, Field(min_length=1, max_length=63, pattern=f"^{NAME.pattern}$")]
Labels = Annotated[dict[str, str], Field(max_length=19)]
Priority = Annotated[int, Field(ge=0, le=9)]

EXAMPLE = {
    "name": "demo",
    "kind": "simulator",
    "dataset": "readings",
    "settings": {"interval": 1, "batch_size": 10, "seed": 7},
}
PAUSE_EXAMPLE = {"state": "paused"}
SETTINGS_EXAMPLE = {"settings": {"batch_size": 100, "seed": None}}


class NewSource(BaseModel):
    """A source to be created. labels, priority: of its jobs."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: Name = Field(description="a lower-case letter, then letters, digits, _ and -")
    kind: str = Field(min_length=1, max_length=63, description="one of GET /source-kinds")
    dataset: str = Field(min_length=1, max_length=63, description="name of the dataset that takes its records")
    settings: dict[str, Any] = Field(default_factory=dict, description="as the kind has them")
    labels: Labels = Field(default_factory=dict, description="labels of its jobs, beside `source`")
    priority: Priority = Field(5, description="of its jobs: 9 goes first")
    state: Literal["running", "paused"] = Field("running", description="paused: it waits to be resumed")


class SourceChange(BaseModel):
    """What is to be changed of a source. settings: those that are given; one that is null has its default again."""

    model_config = ConfigDict(extra="forbid", strict=True)

    state: Literal["running", "paused"] | None = Field(None, description="running resumes it, also after a failure")
    settings: dict[str, Any] | None = Field(None, description="the others stay as they are")
    labels: Labels | None = Field(None, description="all of them anew")
    priority: Priority | None = None


def source_body(source: Source, dataset: str | None) -> dict[str, Any]:
    """Return a source as its users see it. dataset: the name that the dataset has now."""
    lag = (
        None
        if source.lag_seconds is None
        else {
            "seconds": round(source.lag_seconds, 3),
            "records": source.lag_records,
        }
    )
    return {
        "name": source.name,
        "kind": source.kind,
        "dataset": dataset,
        "state": source.state,
        "waits_for": _waits_for(source),
        "settings": source.settings,
        "labels": source.labels,
        "priority": source.priority,
        "position": source.position,
        "batches": source.batches,
        "records": source.records,
        "rejected": source.rejected,
        "rate": round(source.rate, 3),
        "lag": lag,
        "failures": source.failures,
        "last_error": source.last_error,
        "last_error_at": rfc3339(source.last_error_at),
        "last_batch_at": rfc3339(source.last_batch_at),
        "last_job": None if source.last_job is None else str(source.last_job),
        "runner": source.owner if source.leased else None,
        "created_by": source.created_by,
        "created_at": rfc3339(source.created_at),
        "links": {
            "self": f"{ROOT}/{source.name}",
            "dataset": None if dataset is None else f"/api/v1/datasets/{dataset}",
            "jobs": f"/api/v1/jobs?label=source%3D{source.name}",
        },
    }


def _waits_for(source: Source) -> str | None:
    if source.state == SourceState.RUNNING and not source.leased:
        return "a source runner: none reads it now"
    return source.waits_for
