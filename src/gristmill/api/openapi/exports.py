"""Models of stored exports in the OpenAPI document."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gristmill.api.openapi.records import Where
from gristmill.records.export.stored.request import LONGEST_LINK

EXAMPLE = {"format": "parquet", "where": {"stars": {"ge": 4}}, "fields": ["id", "stars"], "keep": "24h"}


class NewExport(BaseModel):
    """What to export, and as what. fields: all without it. keep: how long the file is kept, as in 24h or 7d."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["parquet", "csv", "ndjson"] | None = None
    where: Where | None = None
    start: str | None = Field(None, max_length=64)
    end: str | None = Field(None, max_length=64)
    fields: list[str] | None = Field(None, min_length=1)
    include: list[Literal["embedding"]] | None = Field(None, max_length=1)
    keep: str | None = Field(None, pattern="^[1-9][0-9]{0,6}[hdw]$")


class ExportLinks(BaseModel):
    """Paths: the export, its file, and the job that made it."""

    self_: str = Field(alias="self")
    file: str
    job: str


class StoredExport(BaseModel):
    """A file that can be read. bytes, sha256: of the file. horizon: see docs/export.md."""

    id: str
    dataset: str
    format: Literal["parquet", "csv", "ndjson"]
    bytes: int
    sha256: str
    rows: int
    horizon: str
    created_at: AwareDatetime
    expires_at: AwareDatetime
    links: ExportLinks


class ExportPage(BaseModel):
    """Stored exports, newest first."""

    exports: list[StoredExport]
    next_page_token: str | None


class NewLink(BaseModel):
    """expires_in: seconds; an hour without it."""

    model_config = ConfigDict(extra="forbid")

    expires_in: int | None = Field(None, ge=1, le=LONGEST_LINK)


class Link(BaseModel):
    """A path that opens the file without a key until then."""

    path: str
    expires_at: AwareDatetime
