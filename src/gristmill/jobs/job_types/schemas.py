"""The body of a request for a job."""

from typing import Annotated, Any

from pydantic import BaseModel, Field

from gristmill.jobs.job_types.declaration import MOST_ATTEMPTS

# Ten years.
LONGEST_DELAY = 315_360_000


class JobRequest(BaseModel, extra="forbid", strict=True):
    """A job to submit. The write options may stand here or among the parameters."""

    type: str = Field(description="one of `GET /job-types`", max_length=200)
    args: dict[str, Any] = Field({}, description="arguments, as the type's schema has them")
    max_attempts: Annotated[int, Field(ge=1, le=MOST_ATTEMPTS)] | None = Field(
        None, description="how often it is tried; without it what the type says"
    )
    priority: Annotated[int, Field(ge=0, le=9)] | None = Field(None, description="0 to 9, 9 goes first; 5 without it")
    labels: dict[str, str] | None = Field(None, description="at most 20 texts, by name")
    run_at: str | None = Field(None, description="RFC 3339 time with offset; not run before it")
    delay: Annotated[float, Field(ge=0, le=LONGEST_DELAY)] | None = Field(
        None, description="seconds from now; not run before that. Instead of `run_at`"
    )
