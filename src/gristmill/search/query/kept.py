"""Keeps some of the vectors that a dataset is searched by, where its contract says so: no texts, and nobody's name."""

import random
import time
import uuid
from collections.abc import Sequence

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from gristmill.core.logs import get_logger
from gristmill.datasets.lookup import Dataset
from gristmill.kit.caches import SharedCache
from gristmill.search.repository import curves

log = get_logger()
# Of a dataset. A new vector takes the place of one drawn at random, so that old ones fade (Aggarwal, On biased
# reservoir sampling in the presence of stream evolution, 2006).
SLOTS = 500
# Each process keeps at most one in so many seconds.
LEAST_SECONDS = 1.0
MAX_DATASETS = 10_000


class KeptQueries:
    """One for each process. seconds: as ``LEAST_SECONDS``."""

    def __init__(self, seconds: float = LEAST_SECONDS) -> None:
        self._seconds = seconds
        self._last: SharedCache[uuid.UUID, float] = SharedCache(MAX_DATASETS)

    def offer(self, connection: Connection, dataset: Dataset, vectors: Sequence[str]) -> None:
        """Keep one of the vectors, if it is time for one. The search that they are of never fails for it."""
        embedding = dataset.contract.embedding
        if embedding is None or not embedding.keep_queries or not vectors:
            return
        now = time.monotonic()
        last = self._last.get(dataset.id)
        if last is not None and now - last < self._seconds:
            return
        self._last.put(dataset.id, now)
        try:
            # Which one is no secret.
            curves.keep_query(connection, dataset.id, random.randrange(SLOTS), random.choice(vectors))
        except DBAPIError as error:
            log.warning("search.query_not_kept", dataset=dataset.name, reason=str(error.orig).strip())
