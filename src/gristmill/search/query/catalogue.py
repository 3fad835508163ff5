"""Which ranges of a dataset have a ready index, as searches see it: read from the catalogue at most once a second."""

import uuid

from sqlalchemy import Connection

from gristmill.kit.caches import SharedCache
from gristmill.search.query.vector import Ranges
from gristmill.search.repository import catalogue

MAX_CACHED = 10_000


class Catalogue:
    """A cache per process. Answers may be ``seconds`` old, which costs time and never a record:

    what a new index covers is still scanned exactly, and a range whose index is gone is scanned instead.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self._known: SharedCache[uuid.UUID, Ranges] = SharedCache(MAX_CACHED, seconds)

    def ready(self, connection: Connection, dataset_id: uuid.UUID) -> Ranges:
        """Return (lo, hi) of the ready segments, in order."""
        known = self._known.get(dataset_id)
        return self._known.put(dataset_id, catalogue.ready_ranges(connection, dataset_id)) if known is None else known
