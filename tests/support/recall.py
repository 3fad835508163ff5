"""A dataset of vectors in clusters, its segments built, its curves learnt, and its searches compared with numpy."""

import json
from typing import Any

import numpy as np

from gristmill.core.database import Database
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.kit.ids import uuid7
from gristmill.search.index.builder import IndexBuilder
from gristmill.search.index.graph import GraphParameters
from gristmill.search.index.settings import BuildSettings
from gristmill.search.query.curve import Curve, read_curve
from gristmill.search.query.service import SearchService
from gristmill.search.query.statements import Layout
from gristmill.search.query.vector import outside
from gristmill.search.recall import queries as drawn
from gristmill.search.recall.learn import Learner, Pace, Recall
from gristmill.search.recall.nearest import nearest
from gristmill.search.repository import catalogue
from gristmill.search.repository.catalogue import Ready
from tests.support.embedders import registry
from tests.support.stored import store

DIMENSIONS = 48
BODY: dict[str, Any] = {
    "name": "things",
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "part", "type": "integer", "filterable": True},
    ],
    "key": ["id"],
    "embedding": {"dimensions": DIMENSIONS},
}


def clustered(count: int, seed: int = 0, dimensions: int = DIMENSIONS) -> np.ndarray:
    """Return vectors as embeddings are: in clusters of some hundred, with some noise."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(max(count // 200, 5), dimensions))
    return centres[random.integers(len(centres), size=count)] + 0.6 * random.normal(size=(count, dimensions))


def fill(database: Database, dataset: Dataset, vectors: np.ndarray, first: int = 0) -> None:
    part = np.random.default_rng(first).permutation(len(vectors))
    records = [{"id": first + n, "part": int(part[n])} for n in range(len(vectors))]
    store(database, dataset.contract, records, vectors.tolist(), seq=first + 1)


def build(database: Database, dataset: Dataset, parameters: GraphParameters | None = None) -> None:
    settings = BuildSettings(memory_mb=64, workers=0, min_rows=100, parameters=parameters or GraphParameters())
    IndexBuilder(database, settings).rebuild(dataset.id, uuid7(), lambda: None)
    with database.autocommit() as connection:
        connection.exec_driver_sql(f"ANALYZE data.{dataset.name}")


def segments(database: Database, dataset: Dataset) -> tuple[Ready, ...]:
    with database.autocommit() as connection:
        return catalogue.ready_segments(connection, dataset.id)


def learn(database: Database, dataset: Dataset, samples: int = 128, **pace: Any) -> Recall:
    """Learn every curve and measure, as the job does."""
    with database.autocommit() as connection:
        found = catalogue.ready_segments(connection, dataset.id)
        ranges = tuple(segment.range for segment in found)
        queries = drawn.draw(connection, dataset.id, dataset.contract, ranges, samples, seed=1)
        learner = Learner(connection, Layout(dataset.contract), dataset.id, Pace(**pace))
        rest = Pace().rest
        truths = learner.learn(found, queries, every=True)
        truths += [nearest(connection, dataset.contract, queries, part, 10, rest) for part in outside(ranges)]
        assert dataset.contract.embedding is not None
        return learner.measure(dataset.contract.embedding.recall_target, queries, truths)


def curve_of(database: Database, dataset: Dataset, place: int = 0) -> Curve:
    found = segments(database, dataset)[place].curve
    assert found is not None
    return read_curve(found)


def searched(
    database: Database, dataset: Dataset, stored: np.ndarray, queries: np.ndarray, k: int = 10, **body: Any
) -> tuple[float, list[dict[str, Any]]]:
    """Return the recall of searches, against numpy, and their answers."""
    service = SearchService(database, DatasetLookup(), registry)
    unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
    found, answers = 0, []
    for query in queries:
        answer = service.search(dataset.name, json.dumps({"vector": query.tolist(), "k": k, **body}).encode())
        distances = 1 - unit @ (query / np.linalg.norm(query))
        limit = np.sort(distances)[k - 1]
        found += sum(hit["distance"] <= limit + 1e-5 for hit in answer["hits"])
        answers.append(answer)
    return found / (k * len(queries)), answers
