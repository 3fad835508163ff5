"""The engine of one worker process."""

from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue

from gristmill.bootstrap.dispatcher import build_rescuer
from gristmill.bootstrap.registry import build_registry
from gristmill.bootstrap.shared import Gristmill, freeze_memory
from gristmill.broker.members import Member
from gristmill.core.errors import Unavailable
from gristmill.jobs.execute import Executor
from gristmill.jobs.handlers import Outcome, Registry
from gristmill.jobs.heartbeat import Heartbeat
from gristmill.jobs.maintenance.loop import MaintenanceTask
from gristmill.jobs.maintenance.rescue import Rescuer
from gristmill.jobs.outcome import Ended, Outcomes
from gristmill.jobs.repository.claim import Address
from gristmill.jobs.worker_name import has_ended, host_prefix

# Seconds between two looks for processes that have ended with a chunk in hand: one short statement each.
LOOK_EVERY = 0.5
Lost = tuple[str, Sequence[Member]]
"""A message of which the process has not said how its chunks ended: their job type, and they."""


def build_executor(
    gristmill: Gristmill,
    registry: Registry | None = None,
    *,
    draining: Callable[[], bool] = lambda: False,
    time_limit_error: type[BaseException] = TimeoutError,
) -> Executor:
    """Return the executor.

    registry: the handlers, if they are built already. draining: says whether the process is to end. time_limit_error:
    the exception that announces a time limit.
    """
    settings = gristmill.settings
    heartbeat = Heartbeat(gristmill.database, lease=settings.jobs_lease, interval=settings.jobs_heartbeat)

    def count(type_: str, finished_as: str, took: float, outcome: Outcome) -> None:
        counters = gristmill.counters
        for (name, label), amount in (outcome.counted or {}).items():
            counters.count(name, label, amount)
        if outcome.succeeded and outcome.counted is None:
            counters.count("records_written", type_, outcome.succeeded)
        if outcome.superseded:
            counters.count("records_superseded", type_, outcome.superseded)
        if outcome.dropped:
            counters.count("records_dropped", type_, outcome.dropped)
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


def parent_tasks(
    gristmill: Gristmill,
    lost: SimpleQueue[Lost],
    unknown: SimpleQueue[Lost],
    tell: Callable[[Lost, Mapping[Address, Ended]], None],
) -> list[MaintenanceTask]:
    """Return what the parent of the pool's processes does now and then.

    It frees what ended processes of this host held: its own, and those of a parent that was killed.
    lost: messages of which the process has not said how their chunks ended. unknown: messages of job types that the
    worker does not know. tell: called with a lost message and with those of its chunks that have ended, as soon as they
    have.
    """
    rescuer = build_rescuer(gristmill)
    untold: list[Lost] = []

    def free() -> None:
        freed = rescuer.free_ended(host_prefix(), has_ended)
        while not lost.empty():
            # Not claimed when their process ended: nobody holds them, and the message is gone.
            message = lost.get()
            try:
                freed += rescuer.resend_lost([member.address for member in message[1]])
            except Unavailable:
                lost.put(message)
                raise
            untold.append(message)
        while not unknown.empty():
            message = unknown.get()
            try:
                freed += rescuer.return_unknown(message[0], [member.address for member in message[1]])
            except Unavailable:
                unknown.put(message)
                raise
        if freed:
            gristmill.notifier.due()
            gristmill.counters.flush()
        if untold:
            _tell(rescuer, untold, tell)

    return [(LOOK_EVERY, free)]


def _tell(rescuer: Rescuer, untold: list[Lost], tell: Callable[[Lost, Mapping[Address, Ended]], None]) -> None:
    """Tell of chunks that have ended; leave in ``untold`` those that run until their leases end."""
    messages = untold.copy()
    ends = rescuer.how_ended([member.address for _, members in messages for member in members])
    for message in messages:
        tell(message, ends)
    left = [(type_, [one for one in members if one.address not in ends]) for type_, members in messages]
    untold[:] = [message for message in left if message[1]]


def load_shared(gristmill: Gristmill) -> None:
    """Load in a worker's parent what each process of its pool needs, so that all of them have it by the fork.

    Libraries and weights are then in memory once, and a process that replaces another takes its first job at once.
    """
    gristmill.load_ahead()
    freeze_memory()


def start_own(gristmill: Gristmill) -> None:
    """Start in a new process of the pool what a fork does not hand on: threads."""
    gristmill.check_files()
    gristmill.counters.flush_every(2.0)
