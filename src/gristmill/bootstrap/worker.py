"""The engine of one worker process."""

import contextlib
from collections.abc import Callable

from gristmill.bootstrap.registry import build_registry
from gristmill.bootstrap.shared import Gristmill, freeze_memory
from gristmill.embeddings import registry as embedders
from gristmill.embeddings.errors import EmbedderNotInstalled
from gristmill.jobs.execute import Executor
from gristmill.jobs.handlers import Outcome, Registry
from gristmill.jobs.heartbeat import Heartbeat
from gristmill.jobs.outcome import Outcomes


def build_executor(
    gristmill: Gristmill,
    registry: Registry | None = None,
    *,
    draining: Callable[[], bool] = lambda: False,
    time_limit_error: type[BaseException] = TimeoutError,
) -> Executor:
    """Return the executor.

    registry: the handlers, where they are at hand. draining: says whether the process is to end. time_limit_error: what
    announces a time limit.
    """
    settings = gristmill.settings
    heartbeat = Heartbeat(gristmill.database, lease=settings.jobs_lease, interval=settings.jobs_heartbeat)

    def count(type_: str, finished_as: str, took: float, outcome: Outcome) -> None:
        counters = gristmill.counters
        if outcome.succeeded:
            counters.count("records_written", type_, outcome.succeeded)
        if outcome.superseded:
            counters.count("records_superseded", type_, outcome.superseded)
        if finished_as:
            counters.count("jobs_finished", f"{type_}:{finished_as}")
            counters.observe("job_seconds", type_, took)

    outcomes = Outcomes(
        gristmill.database,
        gristmill.notifier,
        lease=settings.jobs_lease,
        retry=gristmill.retry_policy,
        on_settled=count,
    )
    return Executor(
        gristmill.database,
        registry or build_registry(gristmill),
        heartbeat,
        outcomes,
        lease=settings.jobs_lease,
        draining=draining,
        time_limit_error=time_limit_error,
    )


def warm_up(gristmill: Gristmill) -> None:
    """Do in a new worker process what the first job would otherwise wait for: load weights, start threads."""
    with contextlib.suppress(EmbedderNotInstalled):
        embedders.get(gristmill.settings.embeddings_default)
    freeze_memory()
    gristmill.counters.flush_every(2.0)
