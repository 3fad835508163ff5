"""Which ranges of a dataset have a ready index, as searches see it: read from the catalogue at most once a second."""

import time
import uuid

from sqlalchemy import Connection

from gristmill.search.query.vector import Ranges
from gristmill.search.repository import catalogue

MAX_CACHED = 10_000


class Catalogue:
    """A cache per process. Answers may be ``seconds`` old, which costs time and never a record:

    what a new index covers is still scanned exactly, and a range whose index is gone is scanned instead.
    """

    def __init__(self, seconds: float = 1.0) -> None:
        self._seconds = seconds
        self._known: dict[uuid.UUID, tuple[float, Ranges]] = {}

    def ready(self, connection: Connection, dataset_id: uuid.UUID) -> Ranges:
        """Return (lo, hi) of the ready segments, in order."""
        known = self._known.get(dataset_id)
        if known is not None and known[0] > time.monotonic():
            return known[1]
        ranges = catalogue.ready_ranges(connection, dataset_id)
        if len(self._known) >= MAX_CACHED:
            self._known.clear()
        self._known[dataset_id] = (time.monotonic() + self._seconds, ranges)
        return ranges
