"""The ports for embedders: what turns texts or images into vectors, and what of it a dataset remembers."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Reads = Literal["text", "image"]
"""What an embedder reads."""
Gives = Literal["vector", "bits"]
"""What an embedder makes: vectors of numbers, or of bits, which are the numbers 0 and 1 until they are stored."""


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


class Flaw(NamedTuple):
    """What is wrong with one image. row: its place among those to embed. code: stable. reason: without a subject."""

    row: int
    code: str
    reason: str


class ImageEmbedder(Protocol):
    """Turns images into vectors. Deterministic, and an image's vector never depends on its batch."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Changes whenever the vector of any image may change."""
        ...

    @property
    def dimensions(self) -> int: ...

    def embed(
        self, images: Sequence[bytes | str | None], check: Callable[[], None] = lambda: None
    ) -> tuple[Vectors, list[Flaw]]:
        """Return float32 of shape ``(len(images), dimensions)``, and what is wrong with images that have no vector.

        images: their bytes, or their paths below the image folder. Rows have the length 1 (L2), or are bits; those of
        None and of images with a flaw are all NaN. Few images are in memory at a time. check: is called now and then,
        and raises where the work is to end. Raises what reading the image folder raises while it does not answer.
        """
        ...


class Provider(NamedTuple):
    """How bootstrap offers an embedder.

    describe: answers without loading anything; raises EmbedderNotInstalled. load: makes the embedder. What it needs of
    the settings (batch size; a URL, a key and a timeout where a service embeds) are arguments of its constructor that
    bootstrap binds, so that no provider reads settings. The default embedder is loaded before a worker forks its
    processes: an embedder of texts starts no thread.
    """

    describe: Callable[[], Description]
    load: Callable[[], Embedder]
    reads: Reads = "text"
    gives: Gives = "vector"


class ImageProvider(NamedTuple):
    """How bootstrap offers an embedder of images; the same as of texts."""

    describe: Callable[[], Description]
    load: Callable[[], ImageEmbedder]
    reads: Reads = "image"
    gives: Gives = "vector"
