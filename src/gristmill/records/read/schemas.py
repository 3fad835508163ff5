"""Bodies of the reads that are POSTs: what does not fit into a URL."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from gristmill.records.read.nested.request import MOST_DEPTH


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Selection(_Body):
    """Which records: those of the window that the filter finds."""

    where: Any = Field(None, description="a filter; without it every record")
    start: str | None = Field(None, max_length=64, description="time from, inclusive")
    end: str | None = Field(None, max_length=64, description="time to, inclusive")


class _Shown(_Body):
    fields: list[str] | None = Field(None, min_length=1, description="names of the fields to show; all without it")
    include: list[Literal["embedding"]] | None = Field(None, description="`embedding` adds `_embedding`")
    zone: str | None = Field(
        None, max_length=64, description="the time zone of timestamps; `contract` for that of each field; else UTC"
    )


class _Nested(_Shown):
    expand: list[Literal["children", "parent"]] | None = Field(
        None, description="what each record gets: `children` as `_children`, `parent` as `_parents`"
    )
    depth: int | None = Field(
        None, ge=1, le=MOST_DEPTH, description="how many levels of children and of parents; 1 without it"
    )


class RecordQuery(Selection, _Nested):
    """A page of records."""

    order: list[str] | None = Field(None, min_length=1, description="names of fields; a minus before it is descending")
    page_size: int = Field(100, ge=1, le=1000)
    page_token: str | None = None
    total: bool = Field(False, description="count the matching records too")


class KeyQuery(_Nested):
    """Records by their keys."""

    keys: list[Any] = Field(description="up to 1,000; a key of several fields is a list of their values")


class DistinctQuery(Selection):
    """The distinct values of a field, or of a member of a json field, with how many records have each."""

    field: str = Field(description="name of a field, or the path of a member, as filters have it")
    order: Literal["count", "value"] = Field("count", description="most frequent first, or by value")
    page_size: int = Field(100, ge=1, le=1000)
    page_token: str | None = None
