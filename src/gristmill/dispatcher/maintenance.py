"""What the dispatcher does beside dispatching, in a thread of its own: rescue, schedules, retention, chores."""

import threading
import time
from collections.abc import Callable, Sequence

from gristmill.core.errors import GristmillError
from gristmill.core.logs import get_logger
from gristmill.jobs.maintenance.rescue import Rescuer
from gristmill.jobs.notifications import Notifier

log = get_logger()
PRUNE_EVERY = 60.0


class Upkeep:
    """Runs every chore at its own pace until ``stop`` is set. A failing chore is logged; the others go on."""

    def __init__(
        self,
        rescuer: Rescuer,
        notifier: Notifier,
        *,
        every: float,
        chores: Sequence[tuple[float, Callable[[], object]]],
        stop: threading.Event,
    ) -> None:
        self._notifier = notifier
        self._stop = stop
        self._chores: list[tuple[float, Callable[[], object]]] = [
            (every, self._waking(rescuer.promote_scheduled)),
            (every, self._waking(rescuer.rescue_expired)),
            (every, self._waking(rescuer.resend_unclaimed)),
            (every, rescuer.end_cancelling),
            (PRUNE_EVERY, rescuer.prune),
            *chores,
        ]
        self._every = min(every, *(period for period, _ in self._chores))
        self._last = [0.0] * len(self._chores)

    def run(self) -> None:
        while not self._stop.wait(self._every):
            for place, (period, chore) in enumerate(self._chores):
                if time.monotonic() - self._last[place] >= period:
                    self._last[place] = time.monotonic()
                    self._do(chore)

    def _do(self, chore: Callable[[], object]) -> None:
        try:
            chore()
        except GristmillError as error:
            log.warning("upkeep.waiting", error=error.detail)
        except Exception:
            log.exception("upkeep.defect")

    def _waking(self, chore: Callable[[], int]) -> Callable[[], None]:
        def do() -> None:
            if chore():
                self._notifier.due()

        return do
