"""Forking a process that has threads: only while none of them is at work.

A child inherits the locks of native libraries and of the log as they are at that moment, and nobody in it will ever
release them. A child that was forked while another thread connected to Postgres never got a connection itself (about
one of thirty, tried in a loop). A worker parent forks at its start and whenever a process of its pool has ended.
"""

import contextlib
import os
import threading
from collections.abc import Iterator

# Seconds that a fork waits for threads at work. One that waits longer waits for a Postgres that does not answer.
PATIENCE = 5.0

_condition = threading.Condition(threading.Lock())
_at_work = 0
_fork_is_due = False


@contextlib.contextmanager
def between_forks() -> Iterator[None]:
    """Keep this process from being forked, for ``PATIENCE`` seconds at most, while the block runs."""
    global _at_work
    condition = _condition
    with condition:
        # Or a thread that always has work would never let a fork begin.
        condition.wait_for(lambda: not _fork_is_due)
        _at_work += 1
    try:
        yield
    finally:
        # In a child that was forked in the block there is another condition, and nobody is at work.
        if condition is _condition:
            with condition:
                _at_work -= 1
                condition.notify_all()


def _before() -> None:
    global _fork_is_due
    _condition.acquire()
    _fork_is_due = True
    _condition.wait_for(lambda: not _at_work, PATIENCE)


def _in_parent() -> None:
    global _fork_is_due
    _fork_is_due = False
    _condition.notify_all()
    _condition.release()


def _in_child() -> None:
    global _condition, _at_work, _fork_is_due
    _condition, _at_work, _fork_is_due = threading.Condition(threading.Lock()), 0, False


os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
