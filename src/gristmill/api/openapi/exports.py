"""Models of stored exports in the OpenAPI document."""

from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from gristmill.api.openapi.records import Where
from gristmill.datasets.step_bodies import StepBody
from gristmill.records.export.stored.request import LONGEST_LINK

EXAMPLE = {"format": "parquet", "where": {"stars": {"ge": 4}}, "fields": ["id", "stars"], "keep": "24h"}

IMAGES_EXAMPLE = {
    "where": {"articleType": "Shirts"},
    "steps": [
        {"op": "image_random_crop", "width": 0.8, "height": 0.8},
        {"op": "image_resize", "width": 256, "height": 256},
    ],
    "seed": 7,
}


class NewExport(BaseModel):
    """What to export, and as what. fields: all without it. keep: how long the file is kept, as in 24h or 7d."""

    model_config = ConfigDict(extra="forbid")

    format: Literal["parquet", "csv", "ndjson", "arrow"] | None = None
    where: Where | None = None
    start: str | None = Field(None, max_length=64)
    end: str | None = Field(None, max_length=64)
    fields: list[str] | None = Field(None, min_length=1)
    include: list[Literal["embedding"]] | None = Field(None, max_length=1)
    keep: str | None = Field(None, pattern="^[1-9][0-9]{0,6}[hdw]$")


class NewImageExport(BaseModel):
    """Which images, and what is done to them. steps: operations on images, as in pipelines without ``column``.

    fields: of metadata.csv beside the key. only_failed_of: an export; only the records that failed in it.
    """

    model_config = ConfigDict(extra="forbid")

    field: str | None = None
    where: Where | None = None
    steps: list[StepBody] = Field([], max_length=50)
    seed: int = Field(0, ge=0, le=2**63 - 1)
    format: Literal["jpeg", "png", "webp"] | None = None
    quality: int | None = Field(None, ge=1, le=100)
    fields: list[str] | None = Field(None, min_length=1)
    keep_days: float | None = Field(None, gt=0)
    only_failed_of: str | None = None


class ExportLinks(BaseModel):
    """Paths: the export, its file, and the job that made it. metadata, failures: of exports of images."""

    self_: str = Field(alias="self")
    file: str
    job: str
    metadata: str | None = None
    failures: str | None = None


class StoredExport(BaseModel):
    """A file that can be read. bytes, sha256: of the file. horizon: see docs/export.md.

    An export of images is many files in ``folder`` of the storage, and its file is a zip of them, of which there is no
    checksum; failed: records without an image, see docs/image_export.md.
    """

    id: str
    dataset: str
    format: Literal["parquet", "csv", "ndjson", "arrow", "images"]
    bytes: int
    sha256: str | None
    rows: int
    horizon: str | None
    failed: int | None = None
    folder: str | None = None
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
