"""What tests of search share: sealing, asking, and the exact answer worked out with numpy."""

import json
from typing import Any

import numpy as np

from gristmill.core.database import Database
from gristmill.datasets.lookup import Dataset
from gristmill.kit.ids import uuid7
from gristmill.search.index.builder import BuildSettings, IndexBuilder
from gristmill.search.query.service import SearchService


def seal(database: Database, dataset: Dataset) -> None:
    """Make a segment of the whole tail."""
    builder = IndexBuilder(database, BuildSettings(memory_mb=64, workers=0, min_rows=1))
    assert builder.build(dataset.id, uuid7(), lambda: None)["rows"]


def search(service: SearchService, dataset: str, **body: Any) -> dict[str, Any]:
    return service.search(dataset, json.dumps(body).encode())


def ids(answer: dict[str, Any]) -> list[int]:
    return [hit["record"]["id"] for hit in answer["hits"]]


def pages(service: SearchService, dataset: str, page_size: int, **body: Any) -> list[dict[str, Any]]:
    """Return the hits of all pages, one after the other."""
    found: list[dict[str, Any]] = []
    token = None
    while True:
        more = {} if token is None else {"page_token": token}
        answer = search(service, dataset, page_size=page_size, **body, **more)
        assert len(answer["hits"]) <= page_size
        found += answer["hits"]
        token = answer["next_page_token"]
        if token is None:
            return found
        assert len(answer["hits"]) == page_size


def cosine_distances(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Return the distance of each row of ``vectors`` (rows, dimensions) to ``query``, as pgvector's float32 have it."""
    rows, one = vectors.astype(np.float32).astype(float), query.astype(np.float32).astype(float)
    return 1 - rows @ one / (np.linalg.norm(rows, axis=1) * np.linalg.norm(one))
