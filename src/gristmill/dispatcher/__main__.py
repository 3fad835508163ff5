"""The dispatcher process: ``python -m gristmill.dispatcher``."""

import signal
import threading

from gristmill.kit.loading import loading

with loading():
    from gristmill.bootstrap.dispatcher import maintenance_tasks, schedule_tasks
    from gristmill.bootstrap.shared import Gristmill, freeze_memory
    from gristmill.broker.app import make_celery
    from gristmill.broker.queues import queue_names
    from gristmill.core.logs import get_logger
    from gristmill.core.start import begin
    from gristmill.dispatcher.loop import Dispatcher
    from gristmill.dispatcher.monitors import Monitors
    from gristmill.dispatcher.publisher import Publisher
    from gristmill.jobs.maintenance.loop import Maintenance
    from gristmill.jobs.maintenance.process_beat import ProcessBeat

log = get_logger()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = begin("dispatcher")
    gristmill = Gristmill(settings, "gristmill-dispatcher")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    beat = ProcessBeat(gristmill.database, "dispatcher")
    beat.start()
    # Schedules have their time: they wait for no other task.
    threads = [
        threading.Thread(target=Maintenance(tasks, stop).run, name=name)
        for name, tasks in (("maintenance", maintenance_tasks(gristmill)), ("schedules", schedule_tasks(gristmill)))
    ]
    for thread in threads:
        thread.start()
    dispatcher = make_dispatcher(gristmill, stop)
    freeze_memory()
    log.info("dispatcher.started")
    try:
        dispatcher.run()
    finally:
        # A defect ends the whole process, to be started again: maintenance alone would look alive and send nothing.
        stop.set()
        for thread in threads:
            thread.join()
    beat.stop()
    log.info("dispatcher.stopped")


def make_dispatcher(gristmill: Gristmill, stop: threading.Event) -> Dispatcher:
    """Return the dispatcher of all queues; it connects when it runs."""
    settings = gristmill.settings
    return Dispatcher(
        gristmill.database,
        Publisher(make_celery(settings, confirm=True), settings.broker_confirm_timeout),
        queues=queue_names(),
        window=settings.dispatcher_window,
        poll=settings.dispatcher_poll,
        stop=stop,
        most=settings.dispatcher_bundle,
        gather=settings.dispatcher_gather,
        monitors=Monitors(make_celery(settings, confirm=False)),
    )


if __name__ == "__main__":
    main()
