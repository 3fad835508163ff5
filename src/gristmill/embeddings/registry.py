"""Finds embedders by name. Weights are loaded at the first use in a process, and then kept."""

import threading
from collections.abc import Mapping

from gristmill.embeddings.errors import UnknownEmbedder
from gristmill.embeddings.port import Description, Embedder, Provider


class EmbedderRegistry:
    """The embedders of one process, made in bootstrap from the settings. Safe to use from several threads."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        """providers: by the name that contracts use."""
        self._providers = dict(providers)
        self._loaded: dict[str, Embedder] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Return the names of all embedders, whether their libraries are installed or not."""
        return sorted(self._providers)

    def describe(self, name: str) -> Description:
        """Return name, version and dimensions without loading weights.

        Raises UnknownEmbedder, or EmbedderNotInstalled with the extra to install.
        """
        return self._provider(name).describe()

    def get(self, name: str) -> Embedder:
        """Return the embedder, the same one each time. Raises as ``describe`` does."""
        provider = self._provider(name)
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = provider.load()
            return self._loaded[name]

    def _provider(self, name: str) -> Provider:
        if name not in self._providers:
            raise UnknownEmbedder(f"There is no embedder {name!r}; choose one of: {', '.join(self.names())}.")
        return self._providers[name]
