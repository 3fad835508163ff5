"""What stored exports look like as JSON."""

from typing import Any

from gristmill.kit.timestamps import rfc3339
from gristmill.records.export.stored.repository import StoredExport

ROOT = "/api/v1/exports"


def export_body(row: StoredExport) -> dict[str, Any]:
    """Return an export that can be read."""
    return {
        "id": str(row.id),
        "dataset": row.dataset,
        "format": row.format,
        **_file_of(row),
        "created_at": rfc3339(row.created_at),
        **({"failed": row.failed, "folder": row.files} if row.is_folder else {}),
        "links": {
            "self": f"{ROOT}/{row.id}",
            "file": f"{ROOT}/{row.id}/{row.file_name}",
            **({name: file_link(row, f"{name}.csv") for name in ("metadata", "failures")} if row.is_folder else {}),
            "job": f"/api/v1/jobs/{row.id}",
        },
    }


def file_link(row: StoredExport, path: str) -> str:
    """Return where one file of an export of many is read."""
    return f"{ROOT}/{row.id}/files/{path}"


def result_of(row: StoredExport) -> dict[str, Any]:
    """Return the result of an export's job; ``rows`` is added where results are counted."""
    found = {name: value for name, value in _file_of(row).items() if name != "rows"}
    return {"export": str(row.id), "format": row.format, **found, "link": f"{ROOT}/{row.id}/{row.file_name}"}


def _file_of(row: StoredExport) -> dict[str, Any]:
    return {
        "bytes": row.size,
        "sha256": row.sha256,
        "rows": row.rows,
        "horizon": row.horizon,
        "expires_at": rfc3339(row.expires_at),
    }
