"""A worker of one queue: ``python -m gristmill.worker --queue default|long``."""

import argparse
import gc
import logging
import os
import socket
from typing import Literal

from gristmill.broker.app import QUEUE_NAMES
from gristmill.core.config import load_settings
from gristmill.core.logs import configure_logs


def main() -> None:
    """Start Celery's prefork worker; SIGTERM drains it: running chunks end or go back, nothing new is taken."""
    parser = argparse.ArgumentParser(prog="python -m gristmill.worker")
    parser.add_argument("--queue", choices=QUEUE_NAMES, default="default")
    queue: Literal["default", "long"] = parser.parse_args().queue
    os.environ["GRISTMILL_WORKER_QUEUE"] = queue
    settings = load_settings()
    configure_logs(f"worker-{queue}", settings.log_level)
    logging.getLogger("celery").setLevel(logging.WARNING)
    # While modules are loaded nothing becomes garbage; to look for it all the same takes a fifth of the time.
    gc.disable()
    from gristmill.worker.app import app  # noqa: PLC0415 - the logs must be set up before Celery is

    gc.enable()

    default = queue == "default"
    soft = settings.worker_soft_time_limit if default else settings.worker_long_soft_time_limit
    hard = settings.worker_time_limit if default else settings.worker_long_time_limit
    app.conf.update(task_soft_time_limit=soft, task_time_limit=hard)
    app.worker_main(
        [
            "worker",
            f"--queues=gristmill.{queue}",
            f"--concurrency={settings.worker_processes if default else settings.worker_long_processes}",
            f"--hostname={queue}-{os.getpid()}@{socket.gethostname()}",
            "--pool=prefork",
            # Celery would log two lines a chunk; the executor logs what matters, with its fields.
            "--loglevel=warning",
            "--without-gossip",
            "--without-mingle",
            "--task-events",
        ]
    )


if __name__ == "__main__":
    main()
