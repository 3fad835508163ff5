"""Finds embedders by name. Weights are loaded at the first use in a process, and then kept."""

import threading
from collections.abc import Callable
from typing import NamedTuple

from gristmill.embeddings.errors import UnknownEmbedder
from gristmill.embeddings.port import Description, Embedder
from gristmill.embeddings.providers import hashing, static


class _Entry(NamedTuple):
    describe: Callable[[], Description]
    load: Callable[[], Embedder]


_ENTRIES: dict[str, _Entry] = {
    static.NAME: _Entry(static.describe, static.StaticEmbedder),
    hashing.NAME: _Entry(hashing.describe, hashing.HashingEmbedder),
}
_loaded: dict[str, Embedder] = {}
_lock = threading.Lock()


def names() -> list[str]:
    """Return the names of all embedders, whether their libraries are installed or not."""
    return sorted(_ENTRIES)


def describe(name: str) -> Description:
    """Return name, version and dimensions without loading weights.

    Raises UnknownEmbedder, or EmbedderNotInstalled with the extra to install.
    """
    return _entry(name).describe()


def get(name: str) -> Embedder:
    """Return the embedder, the same one each time. Safe to call from several threads; raises as ``describe`` does."""
    entry = _entry(name)
    with _lock:
        if name not in _loaded:
            _loaded[name] = entry.load()
        return _loaded[name]


def _entry(name: str) -> _Entry:
    if name not in _ENTRIES:
        raise UnknownEmbedder(f"There is no embedder {name!r}; choose one of: {', '.join(names())}.")
    return _ENTRIES[name]
