"""Reading ahead: what an iterator gives is made in a thread of its own, while what it gave before is being used."""

import contextvars
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class ReadAhead(Generic[Item]):
    """Iterates over ``items`` once, in a thread that is at most ``most`` items ahead.

    What ``items`` raises is raised where its next item would have come. ``close`` must be called in the end.
    """

    def __init__(self, items: Iterable[Item], most: int) -> None:
        self._items = items
        self._most = most
        self._ready: deque[Item] = deque()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        # What is bound to the log stays bound.
        run = contextvars.copy_context().run
        self._thread = threading.Thread(target=run, args=(self._run,), name="read-ahead", daemon=True)

    def __iter__(self) -> Iterator[Item]:
        """Raises RuntimeError at the second call."""
        self._thread.start()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ready or self._ended)
                if not self._ready:
                    break
                item = self._ready.popleft()
                self._changed.notify_all()
            yield item
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop after the item that is being made, and wait for that; may be called again."""
        with self._changed:
            self._closed = True
            self._ready.clear()
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._ready) < self._most or self._closed)
                    if self._closed:
                        return
                    self._ready.append(item)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001 - raised where the items are used
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
