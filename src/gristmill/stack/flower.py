"""Runs Flower, the view of the queue: ``python -m gristmill.stack.flower``.

Flower is only a view: it may be restarted or lost at any time. It listens on loopback behind a password and keeps a
bounded number of tasks.
"""

import gc
import os
import sys

from gristmill.core.config import Settings
from gristmill.core.errors import Invalid
from gristmill.core.start import begin

# Flower's own default of 100,000 tasks holds some hundred MB.
MAX_TASKS = 10_000


def variables(settings: Settings) -> dict[str, str]:
    """Return Flower's options as environment variables: a password on the command line is seen by every user.

    Raises Invalid without a password: Flower can revoke tasks and stop workers.
    """
    if not settings.flower_password:
        raise Invalid("Flower needs a password: set [flower] password (GRISTMILL_FLOWER_PASSWORD)")
    return {
        "FLOWER_ADDRESS": settings.flower_host,
        "FLOWER_PORT": str(settings.flower_port),
        "FLOWER_BASIC_AUTH": f"{settings.flower_user}:{settings.flower_password}",
        "FLOWER_MAX_TASKS": str(MAX_TASKS),
        "FLOWER_PURGE_OFFLINE_WORKERS": "3600",
    }


def main() -> None:
    """Run Flower, with Gristmill's changes to it, as ``celery flower`` would."""
    os.environ.update(variables(begin("flower")))
    # Imported here: only this process has a use for Flower.
    from celery.bin.celery import celery  # noqa: PLC0415

    from gristmill.stack.flower_changes import change  # noqa: PLC0415

    change()
    # What Flower remembers lives long: to look through it after every 700 new objects takes a fifth of its time.
    gc.set_threshold(50_000, 20, 100)
    sys.argv = ["celery", "-A", "gristmill.broker.commands", "flower"]
    celery(auto_envvar_prefix="CELERY")


if __name__ == "__main__":
    main()
