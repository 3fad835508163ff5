"""Models of what is computed over records: aggregates and views."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from gristmill.api.openapi.records import Record, Where
from gristmill.records.aggregate.schemas import AggregateRequest as AggregateBody


class FillValue(BaseModel):
    """What empty buckets get."""

    model_config = ConfigDict(extra="forbid")

    value: int | float | str


class AggregateRequest(AggregateBody):
    """What to compute, over which records."""

    where: Where | None = None
    fill: Literal["none", "null", "previous", "linear"] | FillValue = "none"


class AggregateColumn(BaseModel):
    """A column of an answer. type: that of a field."""

    name: str
    type: str


class AggregateAnswer(BaseModel):
    """The columns in their order, and the rows in the order that was asked for."""

    columns: list[AggregateColumn]
    rows: list[Record]


class NewestBatch(BaseModel):
    """The job that brought the newest batch, how many rows it wrote, and how many of them do not stand any more."""

    job: str
    finished_at: str
    rows: int
    superseded: int


class ViewAnswer(BaseModel):
    """The rows that a view makes. batch: null over a window, and where no job is known."""

    view: str
    batch: NewestBatch | None
    columns: list[AggregateColumn]
    rows: list[dict[str, Any]]
