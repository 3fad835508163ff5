"""What all embedders of images share: reading and decoding one image after the other, and what is wrong with them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from gristmill.embeddings.port import Description, Flaw, Vectors
from gristmill.images.errors import BadImage
from gristmill.images.reader import ImageReader


class OneByOne(ABC):
    """An embedder that has one image in memory at a time.

    near: the sides, in pixels, from which on detail is not needed; None where all of it is. grey: colours are not.
    """

    near: int | None = None
    grey: bool = False

    def __init__(self, description: Description, reader: ImageReader) -> None:
        self.name, self.version, self.dimensions = description
        self._reader = reader

    def embed(
        self, images: Sequence[bytes | str | None], check: Callable[[], None] = lambda: None
    ) -> tuple[Vectors, list[Flaw]]:
        """Embed as ``ImageEmbedder`` says."""
        vectors = np.full((len(images), self.dimensions), np.nan, np.float32)
        flaws = []
        for row, value in enumerate(images):
            check()
            if value is None:
                continue
            try:
                vectors[row] = self.vector(self._reader.decode(value, self.near, grey=self.grey))
            except BadImage as error:
                flaws.append(Flaw(row, error.code, error.reason))
        return vectors, flaws

    @abstractmethod
    def vector(self, image: Image.Image) -> Vectors:
        """Return float32 of shape ``(dimensions,)``. image: of the mode L, RGB or RGBA. Raises BadImage."""
