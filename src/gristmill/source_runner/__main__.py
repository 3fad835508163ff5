"""The source runner process: ``python -m gristmill.source_runner``."""

import signal
import threading

from gristmill.kit.loading import loading

with loading():
    from gristmill.bootstrap.shared import Gristmill, freeze_memory
    from gristmill.bootstrap.sources import build_runner
    from gristmill.core.logs import get_logger
    from gristmill.core.start import begin
    from gristmill.jobs.maintenance.process_beat import ProcessBeat

log = get_logger()


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    settings = begin("source_runner")
    # A frozen runner's transaction must not keep its sources from others longer than its lease does.
    gristmill = Gristmill(
        settings, "gristmill-source-runner", pool=settings.database_pool, idle_timeout=settings.sources_lease
    )
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    beat = ProcessBeat(gristmill.database, "source_runner")
    beat.start()
    runner = build_runner(gristmill, beat.name, stop)
    freeze_memory()
    log.info("source_runner.started")
    runner.run()
    beat.stop()
    log.info("source_runner.stopped")


if __name__ == "__main__":
    main()
