"""The vectors of images that are searched by, few of which are decoded at a time."""

import threading
from collections.abc import Sequence

from pydantic_core import to_json

from gristmill.core.errors import Invalid, Unavailable, Violation
from gristmill.datasets.embedders import embedding_values, require_same
from gristmill.datasets.lookup import Dataset
from gristmill.embeddings.registry import EmbedderRegistry
from gristmill.search.query.queries import Query

# Images that one process decodes at once for searches: each may take a few hundred megabytes while it is decoded.
MOST_DECODED = 2
# Searches by image that wait for that, and for how many seconds: each of them holds a thread.
MOST_WAITING = 8
WAIT_SECONDS = 10.0


class QueryImages:
    """Embeds images of searches. Safe to use from several threads."""

    def __init__(self, embedders: EmbedderRegistry) -> None:
        self._embedders = embedders
        self._decoding = threading.BoundedSemaphore(MOST_DECODED)
        self._waiting = threading.BoundedSemaphore(MOST_DECODED + MOST_WAITING)

    def embed(self, dataset: Dataset, queries: Sequence[Query]) -> dict[int, str]:
        """Return the vectors of those queries that have an image, by their places, as pgvector text.

        Raises Invalid that names every image that is none, Unavailable where too many are decoded already.
        """
        given = [(place, query) for place, query in enumerate(queries) if query.image is not None]
        embedding, column = dataset.contract.embedding, dataset.contract.embedding_column
        if not given or embedding is None or column is None or embedding.embedder is None:
            return {}
        embedder = self._embedders.get_of_images(embedding.embedder)
        require_same(dataset, embedder.name, embedder.version)
        with self._turn():
            vectors, flaws = embedder.embed([query.image for _, query in given])
        if flaws:
            violations = [
                Violation(f"{given[flaw.row][1].pointer}/image", flaw.code, f"The image {flaw.reason}", field="image")
                for flaw in flaws
            ]
            raise Invalid(violations[0].reason, violations)
        values = embedding_values(column, vectors).to_pylist()
        return {place: vector_text(value) for (place, _), value in zip(given, values, strict=True)}

    def _turn(self) -> "_Turn":
        return _Turn(self._waiting, self._decoding)


class _Turn:
    """A place among those that decode, once one is free."""

    def __init__(self, waiting: threading.BoundedSemaphore, decoding: threading.BoundedSemaphore) -> None:
        self._waiting, self._decoding = waiting, decoding

    def __enter__(self) -> None:
        if not self._waiting.acquire(blocking=False):
            raise _busy()
        if not self._decoding.acquire(timeout=WAIT_SECONDS):
            self._waiting.release()
            raise _busy()

    def __exit__(self, *_: object) -> None:
        self._decoding.release()
        self._waiting.release()


def vector_text(vector: list[float] | str) -> str:
    """Return a vector as pgvector's text; bits are that already."""
    # JSON is pgvector's text too, and str() takes ten times as long.
    return vector if isinstance(vector, str) else to_json(vector).decode()


def _busy() -> Unavailable:
    return Unavailable("Too many searches by image are under way: send this one again", retry_after=2)
