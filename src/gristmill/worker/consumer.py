"""Celery's consumer, with a steady eye on a broker that is away."""

import functools
from typing import Any

from celery.worker.consumer import Consumer

# Seconds between two attempts. Celery's own pause grows to 30: whatever became due in an outage of some minutes would
# wait for half a minute more after its end, with a worker that has nothing to do.
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 3.0


class SteadyConsumer(Consumer):  # type: ignore[misc]
    """Looks for a lost broker every few seconds, for as long as it takes."""

    def ensure_connected(self, conn: Any) -> Any:
        """Return ``conn`` once it is connected."""
        conn.ensure_connection = functools.partial(
            conn.ensure_connection, interval_start=FIRST_PAUSE, interval_step=1.0, interval_max=LONGEST_PAUSE
        )
        return super().ensure_connected(conn)
