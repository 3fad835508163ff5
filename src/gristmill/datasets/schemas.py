"""The dataset body: what clients see of a dataset."""

from collections.abc import Mapping
from typing import Any

from gristmill.datasets.lookup import Dataset
from gristmill.datasets.sizes import Sizes
from gristmill.kit.timestamps import rfc3339

BASE = "/api/v1/datasets"

EXAMPLE = {
    "name": "readings",
    "fields": [
        {"name": "sensor", "type": "text", "required": True, "max_length": 64},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "value", "type": "float", "minimum": -90, "maximum": 60, "filterable": True},
        {"name": "note", "type": "text"},
    ],
    "key": ["sensor", "at"],
    "time_field": "at",
    "embedding": {"from": ["note"], "embedder": "static", "metric": "cosine"},
}
CHANGE_EXAMPLE = {
    "add_fields": [{"name": "unit", "type": "text", "max_length": 8}],
    "alter_fields": [{"name": "value", "minimum": -120}],
}


def dataset_body(dataset: Dataset, sizes: Sizes, states: Mapping[str, dict[str, Any] | None]) -> dict[str, Any]:
    """Return the JSON object of a dataset. states: what extensions say of it, by their names."""
    url = f"{BASE}/{dataset.name}"
    return {
        "id": str(dataset.id),
        "name": dataset.name,
        "state": dataset.state,
        "version": dataset.version,
        "change_pending": dataset.version_state == "pending",
        "contract": dataset.contract.as_json(),
        "embedder_version": dataset.embedder_version,
        "rows": sizes.rows,
        "rows_exact": sizes.exact,
        "sizes": sizes.as_json(),
        **states,
        "error": dataset.error,
        "created_at": rfc3339(dataset.created_at),
        "links": {
            "self": url,
            "records": f"{url}/records",
            "search": f"{url}/search",
            "jobs": f"/api/v1/jobs?dataset={dataset.name}",
        },
    }
