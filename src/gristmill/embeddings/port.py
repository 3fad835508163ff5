"""The port for embedders: what turns texts into vectors, and what of it a dataset remembers."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]


class Description(NamedTuple):
    """What a dataset stores of its embedder. Vectors are comparable only if all three are equal."""

    name: str
    version: str
    dimensions: int


class Embedder(Protocol):
    """Turns texts into vectors. Implementations are deterministic, and a text's vector never depends on its batch."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Changes whenever the vector of any text may change."""
        ...

    @property
    def dimensions(self) -> int: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return float32 of shape ``(len(texts), dimensions)``, each row of length 1 (L2).

        The row of a text in which there is nothing to embed (empty, only white space) is all NaN: the caller stores
        NULL, because a zero vector has no cosine. Texts are never cut, and working memory does not grow with
        ``len(texts)`` beyond the result.
        """
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has: the parts that ``embed`` makes its vector of."""
        ...


class Provider(NamedTuple):
    """How bootstrap offers an embedder.

    describe: answers without loading anything; raises EmbedderNotInstalled. load: makes the embedder. What it needs of
    the settings (batch size; a URL, a key and a timeout where a service embeds) are arguments of its constructor that
    bootstrap binds, so that no provider reads settings.
    """

    describe: Callable[[], Description]
    load: Callable[[], Embedder]
