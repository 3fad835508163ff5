"""The embedder ``image_hash``: 64 bits that copies of an image share, be they scaled, compressed or a little brighter.

The image is reduced to 32 × 32 grey pixels and brought into frequencies by a cosine transform; each of the 64 lowest
gives a bit: whether it is above their median. Source: Zauner, Implementation and benchmarking of perceptual image hash
functions, 2010; the library ``imagehash`` has it as ``phash``.
"""

import importlib.metadata

import imagehash
import numpy as np
from PIL import Image

from gristmill.embeddings.port import Description, Vectors
from gristmill.images.embedders.base import OneByOne
from gristmill.images.encode import on_white
from gristmill.images.reader import ImageReader

NAME = "image_hash"
DIMENSIONS = 64


def describe() -> Description:
    """Return name, version and dimensions."""
    return Description(NAME, f"imagehash-{importlib.metadata.version('imagehash')}-phash", DIMENSIONS)


class HashEmbedder(OneByOne):
    # Twice the 32 pixels that the image is reduced to.
    near = 64
    grey = True

    def __init__(self, reader: ImageReader) -> None:
        super().__init__(describe(), reader)

    def vector(self, image: Image.Image) -> Vectors:
        bits: Vectors = imagehash.phash(on_white(image)).hash.reshape(-1).astype(np.float32)
        return bits
