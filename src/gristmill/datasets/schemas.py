"""The dataset body: what clients see of a dataset."""

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from gristmill.core.errors import PreconditionFailed
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.sizes import Sizes
from gristmill.kit.entity_tags import Tag
from gristmill.kit.timestamps import rfc3339

BASE = "/api/v1/datasets"
# Values of ETags; None where any will do.
Tags = Sequence[str] | None

EXAMPLE = {
    "name": "readings",
    "fields": [
        {"name": "sensor", "type": "text", "required": True, "max_length": 64},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "value", "type": "float", "minimum": -90, "maximum": 60, "filterable": True, "unit": "°C"},
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


def contract_tag(dataset_id: uuid.UUID | str, version: int) -> Tag:
    """Return the ETag of a dataset: it names its contract, and neither its rows nor an earlier dataset of the name."""
    return Tag(f"{dataset_id}.{version}")


def check_contract(dataset: Dataset, if_match: Tags) -> None:
    """Refuse a dataset whose ETag is not among those of If-Match. Raises PreconditionFailed."""
    tag = contract_tag(dataset.id, dataset.version)
    if if_match is not None and tag.value not in if_match:
        raise PreconditionFailed(
            f"The contract of {dataset.name} is not the one that If-Match names: its ETag is {tag} now (version "
            f"{dataset.version}), so somebody has changed it since. Read it again",
            etag=str(tag),
        )


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
