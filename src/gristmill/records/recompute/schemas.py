"""The body of a request to recompute."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class RecomputeRequest(BaseModel):
    """Which computed fields are made anew, of which records."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    where: dict[str, Any] = Field({}, description="a filter; without it every record")
    fields: list[str] | None = Field(
        None, min_length=1, description="names of computed fields; without it all that a step fills"
    )
