"""What the dispatcher does beside dispatching: the maintenance tasks of all domains."""

from collections.abc import Callable
from functools import partial
from typing import Any

from gristmill.bootstrap.extensions import build_extensions
from gristmill.bootstrap.registry import build_catalogue, build_registry
from gristmill.bootstrap.shared import Gristmill
from gristmill.datasets.field_indexes.tasks import field_indexes
from gristmill.datasets.primary_key.tasks import primary_keys
from gristmill.datasets.repairs import EVERY as REPAIR_EVERY
from gristmill.datasets.statistics import ANALYZE_EVERY, Analyzer
from gristmill.jobs.maintenance.cleanup import prune
from gristmill.jobs.maintenance.rescue import Rescuer
from gristmill.jobs.maintenance.schedules import promote_scheduled
from gristmill.records.export.stored.expiry import ExportExpiry
from gristmill.records.rejects.cleanup import RejectCleanup
from gristmill.schedules.run import EVERY as SCHEDULES_EVERY
from gristmill.schedules.run import ScheduleRunner

_MINUTE = 60.0
# Seconds between two looks for files that are to go: one short statement.
_EXPIRY = 10.0
# Seconds in which a worker reaches Postgres again after its start.
_RECONNECTED = 3.0


def build_rescuer(gristmill: Gristmill) -> Rescuer:
    """Return the rescuer."""
    return Rescuer(
        gristmill.database,
        build_registry(gristmill),
        gristmill.notifier,
        gristmill.counters,
        retry=gristmill.retry_policy,
        resend_after=gristmill.settings.jobs_resend_after,
        # Whoever is alive has sent a heartbeat by then.
        grace=gristmill.settings.jobs_heartbeat + _RECONNECTED,
    )


def maintenance_tasks(gristmill: Gristmill) -> list[tuple[float, Callable[[], Any]]]:
    """Return the maintenance tasks: (seconds between two runs, what is run)."""
    settings, database = gristmill.settings, gristmill.database
    often = min(1.0, settings.jobs_lease / 5)
    rescuer = build_rescuer(gristmill)
    expiry = ExportExpiry(
        database,
        grace=settings.export_grace,
        retention_days=settings.jobs_retention_days,
        max_attempts=settings.jobs_max_attempts,
    )

    waking = partial(_waking, gristmill)
    return [
        (often, waking(partial(promote_scheduled, database))),
        (often, waking(rescuer.rescue_expired)),
        (often, waking(rescuer.resend_unclaimed)),
        (often, rescuer.end_cancelling),
        (2.0, gristmill.counters.flush),
        *((every, waking(run)) for extension in build_extensions(gristmill) for every, run in extension.maintenance),
        (ANALYZE_EVERY, Analyzer(database).run),
        (REPAIR_EVERY, waking(primary_keys(database).run)),
        (REPAIR_EVERY, waking(field_indexes(database).run)),
        (_MINUTE, RejectCleanup(database).run),
        (_EXPIRY, waking(expiry.run)),
        (_MINUTE, partial(prune, database, **_kept(gristmill))),
    ]


def schedule_tasks(gristmill: Gristmill) -> list[tuple[float, Callable[[], Any]]]:
    """Return what submits the jobs of schedules, in the same form: for a thread of its own, as it has its time."""
    runner = ScheduleRunner(
        gristmill.database, build_catalogue(gristmill), gristmill.dataset_lookup, gristmill.admission
    )
    return [(SCHEDULES_EVERY, _waking(gristmill, runner.run))]


def _waking(gristmill: Gristmill, submit: Callable[[], int]) -> Callable[[], None]:
    """Return a task that wakes the dispatcher when ``submit`` has made something due."""

    def do() -> None:
        if submit():
            gristmill.notifier.due()

    return do


def _kept(gristmill: Gristmill) -> dict[str, float]:
    settings = gristmill.settings
    return {"retention_days": settings.jobs_retention_days, "idempotency_hours": settings.jobs_idempotency_hours}
