"""Jobs that Gristmill submits by itself for tables which lack something, ever later where that has not helped."""

import time
import uuid
from collections.abc import Callable

from sqlalchemy import Connection

from gristmill.core.database import Database

# Seconds between two looks, and until a job that has not helped is followed by another one: twice as long each time.
EVERY = 60.0
LONGEST_PAUSE = 6 * 3600.0
# Jobs that one look submits.
MOST = 10


class Repairs:
    """Finds tables and submits a job for each.

    find: gives (id, name) of the datasets. submit: submits the job for one, unless there is one already; says whether.
    """

    def __init__(
        self,
        database: Database,
        find: Callable[[Connection], list[tuple[uuid.UUID, str]]],
        submit: Callable[[Connection, uuid.UUID, str], bool],
    ) -> None:
        self._database = database
        self._find = find
        self._submit = submit
        # (not before, pause) of the datasets for which a job was submitted.
        self._paused: dict[uuid.UUID, tuple[float, float]] = {}

    def run(self) -> int:
        """Submit what is due and return the number of jobs."""
        with self._database.autocommit() as connection:
            found = self._find(connection)
        now = time.monotonic()
        there = {dataset_id for dataset_id, _ in found}
        # While its job runs a dataset may not be found; its pause is kept for a while.
        self._paused = {
            id_: (after, pause)
            for id_, (after, pause) in self._paused.items()
            if id_ in there or now <= after + 2 * pause + EVERY
        }
        due = [one for one in found if self._paused.get(one[0], (0.0, 0.0))[0] <= now]
        submitted = 0
        for dataset_id, name in due:
            submitted += self._repair(dataset_id, name, now)
            if submitted == MOST:
                break
        return submitted

    def _repair(self, dataset_id: uuid.UUID, name: str, now: float) -> bool:
        pause = min(LONGEST_PAUSE, 2 * self._paused.get(dataset_id, (0.0, EVERY / 2))[1])
        with self._database.transaction() as connection:
            if not self._submit(connection, dataset_id, name):
                # Its job runs, or it lacks nothing: the pause does not grow.
                self._paused[dataset_id] = (now + EVERY, pause / 2)
                return False
        self._paused[dataset_id] = (now + pause, pause)
        return True
