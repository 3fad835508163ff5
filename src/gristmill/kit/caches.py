"""Bounded caches that several threads share, on cachetools."""

import threading
from typing import Generic, TypeVar

from cachetools import Cache, LRUCache, TTLCache

Key = TypeVar("Key")
Value = TypeVar("Value")


class SharedCache(Generic[Key, Value]):
    """A cache of at most ``size`` entries; the one that was used longest ago goes first.

    seconds: how long an entry is valid; None: until it is replaced or pushed out.
    """

    def __init__(self, size: int, seconds: float | None = None) -> None:
        self._lock = threading.Lock()
        self._entries: Cache[Key, Value] = LRUCache(size) if seconds is None else TTLCache(size, seconds)

    def get(self, key: Key) -> Value | None:
        """Return the value, or None where there is none; store None itself nowhere."""
        with self._lock:
            return self._entries.get(key)

    def put(self, key: Key, value: Value) -> Value:
        """Store ``value`` and return it."""
        with self._lock:
            self._entries[key] = value
        return value

    def pop(self, key: Key) -> None:
        """Forget the key, if it is there."""
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()
