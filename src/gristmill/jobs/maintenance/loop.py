"""The loop of maintenance tasks, run in a thread of dispatchers and worker parents: each task at its own interval."""

import threading
import time
from collections.abc import Callable, Sequence

from gristmill.core.errors import GristmillError
from gristmill.core.forks import between_forks
from gristmill.core.logs import get_logger

log = get_logger()
MaintenanceTask = tuple[float, Callable[[], object]]
"""Seconds between two runs, and what is run."""


class Maintenance:
    """Runs every task at its own interval until ``stop`` is set. A failing task is logged; the others go on."""

    def __init__(self, tasks: Sequence[MaintenanceTask], stop: threading.Event) -> None:
        self._tasks = list(tasks)
        self._stop = stop
        self._every = min(period for period, _ in self._tasks)
        self._last = [0.0] * len(self._tasks)
        self._waiting: set[int] = set()

    def run(self) -> None:
        while not self._stop.wait(self._every):
            for index, (period, task) in enumerate(self._tasks):
                if time.monotonic() - self._last[index] >= period:
                    self._last[index] = time.monotonic()
                    with between_forks():
                        self._do(index, task)

    def _do(self, index: int, task: Callable[[], object]) -> None:
        try:
            task()
            self._waiting.discard(index)
        except GristmillError as error:
            # Once for each outage and task, not at every try.
            if index not in self._waiting:
                log.warning("maintenance.waiting", error=error.detail)
            self._waiting.add(index)
        except Exception:
            log.exception("maintenance.defect")
