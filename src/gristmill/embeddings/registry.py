"""Finds embedders by name. Weights are loaded at the first use in a process, and then kept."""

import threading
from collections.abc import Mapping

from gristmill.embeddings.errors import UnknownEmbedder, WrongEmbedder
from gristmill.embeddings.port import Description, Embedder, Gives, ImageEmbedder, ImageProvider, Provider, Reads


class EmbedderRegistry:
    """The embedders of one process, made in bootstrap from the settings. Safe to use from several threads."""

    def __init__(self, providers: Mapping[str, Provider | ImageProvider]) -> None:
        """providers: by the name that contracts use."""
        self._providers = dict(providers)
        self._loaded: dict[str, Embedder] = {}
        self._loaded_images: dict[str, ImageEmbedder] = {}
        self._lock = threading.Lock()

    def names(self) -> list[str]:
        """Return the names of all embedders, whether their libraries are installed or not."""
        return sorted(self._providers)

    @property
    def of_texts(self) -> "TextEmbedders":
        """The embedders that read texts alone."""
        return TextEmbedders(self)

    def describe(self, name: str) -> Description:
        """Return name, version and dimensions without loading weights.

        Raises UnknownEmbedder, or EmbedderNotInstalled with the extra to install.
        """
        return self._provider(name).describe()

    def reads(self, name: str) -> Reads:
        """Return what the embedder reads. Raises UnknownEmbedder."""
        return self._provider(name).reads

    def gives(self, name: str) -> Gives:
        """Return what the embedder makes. Raises UnknownEmbedder."""
        return self._provider(name).gives

    def get(self, name: str) -> Embedder:
        """Return the embedder of texts, the same one each time. Raises as ``describe`` does, and WrongEmbedder."""
        provider = self._provider(name)
        if isinstance(provider, ImageProvider):
            raise self._wrong(name, "text")
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = provider.load()
            return self._loaded[name]

    def get_of_images(self, name: str) -> ImageEmbedder:
        """Return the embedder of images, as ``get`` does."""
        provider = self._provider(name)
        if not isinstance(provider, ImageProvider):
            raise self._wrong(name, "image")
        with self._lock:
            if name not in self._loaded_images:
                self._loaded_images[name] = provider.load()
            return self._loaded_images[name]

    def _wrong(self, name: str, reads: Reads) -> WrongEmbedder:
        valid = ", ".join(one for one in self.names() if self.reads(one) == reads) or "none is installed"
        return WrongEmbedder(f"The embedder {name!r} reads no {reads}; those that do are: {valid}")

    def _provider(self, name: str) -> Provider | ImageProvider:
        if name not in self._providers:
            raise UnknownEmbedder(f"There is no embedder {name!r}; choose one of: {', '.join(self.names())}.")
        return self._providers[name]


class TextEmbedders:
    """Those embedders of a registry that read texts."""

    def __init__(self, registry: EmbedderRegistry) -> None:
        self._registry = registry

    def names(self) -> list[str]:
        return [name for name in self._registry.names() if self._registry.reads(name) == "text"]

    def get(self, name: str) -> Embedder:
        return self._registry.get(name)
