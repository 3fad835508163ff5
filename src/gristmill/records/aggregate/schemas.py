"""The body of an aggregate: its members and their JSON types. What they mean is checked against the contract."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Agg = Literal["count", "sum", "mean", "min", "max", "first", "last", "median", "quantile", "stddev", "distinct"]
MOST = 100
# A column of a result is called as a field may be.
NAME = "^[a-z][a-z0-9_]{0,47}$"


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


class Measure(_Body):
    """One number of each group. field: none for ``count`` of records. q: of a quantile, 0 to 1."""

    agg: Agg
    field: str | None = None
    as_: str | None = Field(None, alias="as", pattern=NAME, description="the name of the column")
    q: float | None = Field(None, ge=0, le=1)


class Rolling(_Body):
    """A column over a window that ends with each row."""

    column: str
    window: Any = Field(description='a length of time such as "5s", or a number of rows')
    agg: Literal["count", "sum", "mean", "min", "max", "first", "last", "median", "stddev"]
    as_: str | None = Field(None, alias="as", pattern=NAME, description="the name of the new column")
    by: list[str] = Field([], max_length=MOST, description="columns: each group of rows by itself")
    min_periods: int = Field(1, ge=1, le=1_000_000_000, description="values that a window must have")


class Pivot(_Body):
    """A column's values become columns."""

    columns: str = Field(description="the column whose values become the names of columns")
    column: str = Field(description="the column whose values stand in them")
    index: list[str] | None = Field(None, max_length=MOST, description="what rows are told apart by; else all others")
    agg: Literal["count", "sum", "mean", "min", "max", "first", "last"] | None = Field(
        None, description="how several rows become one value"
    )
    prefix: str = Field(
        "", max_length=100, pattern=r"^[^\x00]*$", description="stands before the name of each new column"
    )


class Melt(_Body):
    """Columns become rows of a name and a value."""

    columns: list[str] | None = Field(None, min_length=1, description="the columns that become rows; else all others")
    index: list[str] | None = Field(None, description="the columns that stay; else all others")
    variable: str = Field("variable", pattern=NAME, description="the column of the names")
    value: str = Field("value", pattern=NAME, description="the column of the values")


class AggregateRequest(_Body):
    """What to compute, over which records."""

    every: str | None = Field(None, max_length=64, description="the length of a bucket, such as 15m, 1h, 1d, 1mo, PT5S")
    zone: str | None = Field(None, max_length=64, description="whose calendar; else that of the time field, else UTC")
    origin: str | None = Field(None, max_length=64, description="a time at which a bucket begins")
    offset: str | None = Field(None, max_length=64, description="how much later than else buckets begin")
    start: str | None = Field(None, max_length=64, description="time from, inclusive")
    end: str | None = Field(None, max_length=64, description="time to, inclusive")
    where: Any = Field(None, description="a filter; without it every record")
    by: list[str] = Field([], max_length=MOST, description="fields whose values make the groups")
    measures: list[Measure] = Field([], max_length=MOST)
    fields: list[str] | None = Field(
        None, min_length=1, max_length=1000, description="in place of measures: the records themselves"
    )
    fill: Any = Field("none", description='none, null, previous, linear or {"value": …}: what empty buckets get')
    order: list[str] | None = Field(
        None, min_length=1, max_length=MOST, description="names of columns; a minus before it is descending"
    )
    limit: int | None = Field(None, ge=1, le=1_000_000_000)
    rolling: list[Rolling] = Field([], max_length=MOST)
    pivot: Pivot | None = None
    melt: Melt | None = None


EXAMPLE = {
    "every": "1h",
    "zone": "Europe/Berlin",
    "by": ["sensor"],
    "measures": [{"agg": "mean", "field": "value"}, {"agg": "count"}],
    "start": "2026-01-31T00:00:00Z",
    "end": "2026-01-31T23:59:59Z",
}
