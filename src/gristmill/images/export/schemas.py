"""The body that asks for an export of images, and what the job says of it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from gristmill.datasets.step_bodies import StepBody
from gristmill.images.encode import Format
from gristmill.kit.timestamps import rfc3339
from gristmill.records.export.stored.repository import StoredExport
from gristmill.records.export.stored.schemas import ROOT, file_link

MOST_STEPS = 50


class ImageExportRequest(BaseModel):
    """Which images, and what is done to them."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    field: str | None = Field(None, description="the image field; it may be left out where there is only one")
    where: dict[str, Any] | None = Field(None, description="a filter; without it all records")
    steps: list[StepBody] = Field([], max_length=MOST_STEPS, description="operations on each image, in order")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="of all random operations that have none of their own")
    format: Format | None = Field(None, description="of the files; by default each image keeps its own")
    quality: int | None = Field(None, ge=1, le=100, description="of JPEG and WebP")
    fields: list[str] | None = Field(None, description="fields in metadata.csv beside the key; by default all")
    keep_days: float | None = Field(None, gt=0, description="how long the files are kept")
    only_failed_of: str | None = Field(None, description="an export: only the records that failed in it")


def result_of(row: StoredExport) -> dict[str, Any]:
    """Return the result of the job."""
    return {
        "export": str(row.id),
        "format": row.format,
        "images": row.rows,
        "failed": row.failed,
        "bytes": row.size,
        "folder": row.files,
        "expires_at": rfc3339(row.expires_at),
        "links": {
            "export": f"{ROOT}/{row.id}",
            "zip": f"{ROOT}/{row.id}/{row.file_name}",
            "metadata": file_link(row, "metadata.csv"),
            "failures": file_link(row, "failures.csv"),
        },
    }
