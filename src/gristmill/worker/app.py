"""The worker's Celery application: one task per handler, named after the job type."""

import multiprocessing
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.exceptions import SoftTimeLimitExceeded
from celery.signals import (
    setup_logging,
    task_received,
    worker_init,
    worker_process_init,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from gristmill.bootstrap.registry import job_types
from gristmill.bootstrap.shared import Gristmill
from gristmill.bootstrap.worker import build_executor, load_shared, parent_tasks, start_own
from gristmill.broker.app import make_celery
from gristmill.broker.members import Member, members_of
from gristmill.broker.queues import find_queue
from gristmill.broker.task_events import packed
from gristmill.core.allocator import reuse_freed_blocks
from gristmill.core.config import load_settings
from gristmill.core.errors import Unavailable
from gristmill.core.logs import get_logger
from gristmill.jobs.execute import Executor
from gristmill.jobs.maintenance.loop import Maintenance
from gristmill.jobs.maintenance.process_beat import ProcessBeat
from gristmill.jobs.outcome import Ended
from gristmill.worker.late_events import end_of, tell_late
from gristmill.worker.request import ChunksRequest, lost, tell_received, unknown

log = get_logger()
settings = load_settings()
app: Celery = make_celery(settings, confirm=False)
app.conf.worker_consumer = "gristmill.worker.consumer:SteadyConsumer"

# Shared with the pool's processes by the fork: the time from which chunks are to be given back; 0 while not draining.
_drain_at = multiprocessing.Value("d", 0.0, lock=False)
_executor: Executor | None = None
_beat: ProcessBeat | None = None
# What the parent itself needs; no process of the pool uses it.
_parent = Gristmill(settings, "gristmill-worker-parent", pool=2)
_stop = threading.Event()
# How long a message waits for Postgres before it is left to the resend.
CLAIM_PATIENCE = 20.0


def run_chunks(members: Sequence[Member]) -> list[Ended]:
    """Carry out the chunks of a message; return how each ended, which goes to Celery's events only."""
    assert _executor is not None, "the pool process was not initialised"
    chunks = [member.address for member in members]
    deadline = time.monotonic() + CLAIM_PATIENCE
    pause = 0.1
    ends: list[Ended] | None = None
    again = False
    while ends is None:
        try:
            ends = _executor.run_all(chunks)
        except Unavailable as error:
            # The claim, or how a chunk ended, could not be written. A claim may be tried again; a running chunk is
            # not claimed twice: then this finds nothing and the lease brings the chunk back.
            if time.monotonic() > deadline:
                log.warning("chunk.left", jobs=[str(job_id) for job_id, _, _ in chunks], error=error.detail)
                return [Ended("left") for _ in chunks]
            again = True
            time.sleep(pause)
            pause = min(2.0, pause * 2)
    return [Ended("left") if again and ended.how == "dropped" else ended for ended in ends]


def _register(type_: str) -> None:
    # The request sends the events, one for each chunk, and needs the whole answer for that.
    options = {"Request": ChunksRequest, "send_events": False, "resultrepr_maxsize": None}

    @app.task(name=type_, **options)  # type: ignore[untyped-decorator]
    def task(*parts: Any) -> str:
        return packed([end_of(ended) for ended in run_chunks(members_of(parts, {}))])


for _type in job_types():
    _register(_type)
task_received.connect(tell_received)


@setup_logging.connect  # type: ignore[untyped-decorator]
def _keep_logs(**_: Any) -> None:
    # Celery would set the level of all loggers, and with it silence what the executor says of each chunk.
    pass


@worker_process_init.connect  # type: ignore[untyped-decorator]
def _start_process(**_: Any) -> None:
    """Build anew what does not survive the fork: connections and threads."""
    global _executor
    reuse_freed_blocks()
    gristmill = Gristmill(settings, "gristmill-worker")
    start_own(gristmill)
    _executor = build_executor(gristmill, draining=_is_draining, time_limit_error=SoftTimeLimitExceeded)


def _is_draining() -> bool:
    return bool(0 < _drain_at.value <= time.time())


@worker_init.connect  # type: ignore[untyped-decorator]
def _watch(**_: Any) -> None:
    """Free what dead processes held, from the start on: a parent that was killed left chunks, broker or no broker."""
    maintenance = Maintenance(parent_tasks(_parent, lost, unknown, tell_late), _stop)
    threading.Thread(target=maintenance.run, name="maintenance", daemon=True).start()


@worker_init.connect  # type: ignore[untyped-decorator]
def _load(**_: Any) -> None:
    load_shared(_parent)


@worker_ready.connect  # type: ignore[untyped-decorator]
def _announce(sender: Any = None, **_: Any) -> None:
    global _beat
    queue = find_queue(os.environ["GRISTMILL_WORKER_QUEUE"])
    slots = queue.processes(settings)
    _beat = ProcessBeat(_parent.database, "worker", queue.name, slots)
    _beat.start()
    log.info("worker.ready", queue=queue.name, slots=slots)


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _drain(**_: Any) -> None:
    # Runs inside a signal handler: no lock, no log.
    _drain_at.value = time.time() + settings.worker_drain_seconds


@worker_shutdown.connect  # type: ignore[untyped-decorator]
def _leave(**_: Any) -> None:
    _stop.set()
    if _beat is not None:
        _beat.stop()
