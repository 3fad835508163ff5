"""Runs supervisord so that it looks at its children ten times a second; by itself it does so once.

Run as a script: it imports nothing of Gristmill, and takes supervisord's own arguments.
"""

from typing import Any

from supervisor import poller, supervisord

# Seconds. supervisord notices an end at one turn of its loop and starts the program again at the next one.
TURN = 0.1


class QuickPoller(poller.Poller):  # type: ignore[misc]
    """Waits for requests, but never longer than a turn."""

    def poll(self, timeout: float) -> Any:
        return super().poll(min(timeout, TURN))


if __name__ == "__main__":
    poller.Poller = QuickPoller
    supervisord.main()
