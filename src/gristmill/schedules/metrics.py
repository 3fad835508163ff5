"""What /metrics shows of schedules."""

from collections.abc import Iterable

from sqlalchemy import Connection

from gristmill.datasets.extensions import Gauge
from gristmill.schedules.repository import figures
from gristmill.schedules.states import ScheduleState


def schedule_gauges(connection: Connection) -> Iterable[Gauge]:
    """Return how many schedules there are, and how late the latest one is."""
    found = figures(connection)
    yield Gauge(
        "gristmill_schedules",
        "Schedules by their states.",
        ("state",),
        [((str(state),), float(found.get(state, (0, 0.0))[0])) for state in ScheduleState],
    )
    late = found.get(ScheduleState.RUNNING, (0, 0.0))[1]
    yield Gauge(
        "gristmill_schedule_late_seconds",
        "For how long the schedule has been due that has been due the longest.",
        (),
        [((), max(0.0, late))],
    )
