"""The body of a request to fit."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

FIT_EXAMPLE = {"where": {"value": {"gt": 20}}}


class FitRequest(BaseModel):
    """Which steps are fitted, by which records."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    where: dict[str, Any] = Field({}, description="a filter; without it every record")
    steps: list[int] | None = Field(
        None, min_length=1, description="numbers of steps that are fitted; without it all that can be"
    )
