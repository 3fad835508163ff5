"""The body of a preview."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class PreviewRequest(BaseModel):
    """A sample, as records or as text, and what of the contract is tried in place of what it says."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    records: list[Any] | None = Field(None, description="the sample; without it and `data` the newest stored records")
    data: str | None = Field(None, description="the sample as text in the format `format`")
    format: Literal["csv", "ndjson"] = Field("csv", description="of `data`")
    delimiter: str | None = Field(None, description="what `data` is written in if it is CSV, as for records")
    decimal: str | None = Field(None, description="as `delimiter`")
    thousands: str | None = Field(None, description="as `delimiter`")
    null: str | None = Field(None, description="as `delimiter`")
    quote: str | None = Field(None, description="as `delimiter`")
    contract: dict[str, Any] | None = Field(
        None, description="members that are tried in place of those of the contract, or of a dataset that is not there"
    )
    limit: int = Field(20, ge=1, le=100, description="how many records of the sample are taken")
