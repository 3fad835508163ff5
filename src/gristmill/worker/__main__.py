"""A worker of one queue: ``python -m gristmill.worker --queue NAME``."""

import argparse
import logging
import os
import socket

from gristmill.broker.queues import DEFAULT_QUEUE, find_queue, queue_names
from gristmill.core.start import begin
from gristmill.kit.loading import loading


def main() -> None:
    """Start Celery's prefork worker; SIGTERM drains it: running chunks end or go back, nothing new is taken."""
    parser = argparse.ArgumentParser(prog="python -m gristmill.worker")
    parser.add_argument("--queue", choices=queue_names(), default=DEFAULT_QUEUE)
    queue = find_queue(parser.parse_args().queue)
    os.environ["GRISTMILL_WORKER_QUEUE"] = queue.name
    # A process of a worker is one of several: numpy's own threads would take their processors, and wait in a loop.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    settings = begin(f"worker-{queue.name}")
    logging.getLogger("celery").setLevel(logging.WARNING)
    with loading():
        from gristmill.worker.app import app  # noqa: PLC0415 - the logs must be set up before Celery is

    app.conf.update(task_soft_time_limit=queue.soft_time_limit(settings), task_time_limit=queue.time_limit(settings))
    app.worker_main(
        [
            "worker",
            f"--queues=gristmill.{queue.name}",
            f"--concurrency={queue.processes(settings)}",
            f"--hostname={queue.name}-{os.getpid()}@{socket.gethostname()}",
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
