"""The dispatcher process: ``python -m gristmill.dispatcher``."""

import contextlib
import os
import signal
import socket
import threading
from typing import Any

from gristmill.bootstrap.services import Gristmill
from gristmill.broker.app import QUEUE_NAMES, make_celery
from gristmill.core.config import load_settings
from gristmill.core.errors import Unavailable
from gristmill.core.logs import configure_logs, get_logger
from gristmill.dispatcher.loop import Dispatcher
from gristmill.dispatcher.maintenance import Upkeep
from gristmill.dispatcher.publisher import Publisher
from gristmill.jobs.repository import cleanup

log = get_logger()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = load_settings()
    configure_logs("dispatcher", settings.log_level)
    gristmill = Gristmill(settings, "gristmill-dispatcher")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    name = f"dispatcher@{socket.gethostname()}:{os.getpid()}"

    def beat() -> None:
        with gristmill.database.transaction() as connection:
            cleanup.beat_process(connection, name, "dispatcher", None, 0)

    chores: list[tuple[float, Any]] = [(10.0, beat), (2.0, gristmill.figures.flush), *gristmill.chores()]
    upkeep = Upkeep(
        gristmill.rescuer(),
        gristmill.notifier,
        every=min(1.0, settings.jobs_lease / 5),
        chores=chores,
        stop=stop,
    )
    thread = threading.Thread(target=upkeep.run, name="upkeep")
    thread.start()
    dispatcher = Dispatcher(
        gristmill.database,
        Publisher(make_celery(settings, confirm=True), settings.broker_confirm_timeout),
        queues=QUEUE_NAMES,
        window=settings.dispatcher_window,
        poll=settings.dispatcher_poll,
        stop=stop,
        most=settings.dispatcher_bundle,
        gather=settings.dispatcher_gather,
    )
    gristmill.settle_memory()
    log.info("dispatcher.started")
    try:
        dispatcher.run()
    finally:
        # A defect ends the whole process, to be started again: upkeep alone would look alive and send nothing.
        stop.set()
        thread.join()
    with contextlib.suppress(Unavailable), gristmill.database.transaction() as connection:
        cleanup.remove_process(connection, name)
    log.info("dispatcher.stopped")


if __name__ == "__main__":
    main()
