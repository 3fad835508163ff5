"""The embedder ``image_layout``: where in an image which colours and which edges are. It has no weights.

Colours: the image as 8 × 8 mean colours in YCbCr, brought into frequencies by a cosine transform, of which the lowest
are kept in zigzag order (Kasutani and Yamada, The MPEG-7 color layout descriptor, ICIP 2001). Edges: for each of 4 × 4
parts of the image the share of its blocks with a vertical, horizontal, diagonal (two) or undirected edge, or none
(Park, Jeon and Won, Efficient use of local edge histogram descriptor, ACM Multimedia workshops 2000, whose five bins
leave the last share out: here it keeps a plain image from having no direction at all).
"""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from gristmill.embeddings.port import Description, Vectors
from gristmill.images.embedders.base import OneByOne
from gristmill.images.encode import on_white
from gristmill.images.reader import ImageReader

NAME = "image_layout"
VERSION = "1"
# Coefficients of brightness and of each of both colours: seven and four diagonals of the 8 × 8.
_BRIGHTNESS, _COLOUR = 28, 10
_PARTS, _KINDS = 4, 6
DIMENSIONS = _BRIGHTNESS + 2 * _COLOUR + _PARTS * _PARTS * _KINDS
# Pixels of a side when edges are looked for; each block is 2 × 2 of them.
_SIDE = 96
# The strength from which on a block has an edge, of 0 to 255; the paper's.
_THRESHOLD = 11.0
# What the parts of the vector count: the brightness of an image says less of it than its colours, and where its edges
# are more than both.
_WEIGHTS = (1.0, 2.0, 0.5)

Numbers = NDArray[np.float64]


def describe() -> Description:
    """Return name, version and dimensions."""
    return Description(NAME, VERSION, DIMENSIONS)


class LayoutEmbedder(OneByOne):
    near = _SIDE

    def __init__(self, reader: ImageReader) -> None:
        super().__init__(describe(), reader)

    def vector(self, image: Image.Image) -> Vectors:
        small = on_white(image).convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BOX)
        found = np.concatenate([_colours(small), _edges(small) * _WEIGHTS[2]])
        vector: Vectors = (found / np.linalg.norm(found)).astype(np.float32)
        return vector


def _cosines() -> Numbers:
    """Return the matrix of the orthonormal cosine transform (type II) of eight values."""
    place = np.arange(8)
    matrix = np.cos(np.pi * np.outer(place, 2 * place + 1) / 16) / 2
    matrix[0] /= math.sqrt(2)
    return matrix


def _zigzag() -> NDArray[np.int64]:
    """Return the places of the 8 × 8 coefficients, by rows, in the order of their diagonals."""

    def order(place: int) -> tuple[int, int]:
        row, column = divmod(place, 8)
        return row + column, row if (row + column) % 2 else column

    return np.array(sorted(range(64), key=order))


_COSINES, _ZIGZAG = _cosines(), _zigzag()


def _colours(image: Image.Image) -> Numbers:
    """Return the weighted coefficients; those of one colour are at most of length 1, by what 8 × 8 pixels can be."""
    grid = image.resize((8, 8), Image.Resampling.BOX).convert("YCbCr")
    pixels = (np.asarray(grid, np.float64) - 128) / 128
    kept = []
    for channel, count in enumerate((_BRIGHTNESS, _COLOUR, _COLOUR)):
        frequencies = _COSINES @ pixels[:, :, channel] @ _COSINES.T / 8
        kept.append(frequencies.reshape(-1)[_ZIGZAG[:count]] * _WEIGHTS[channel > 0])
    return np.concatenate(kept)


def _edges(image: Image.Image) -> Numbers:
    """Return the roots of the shares of the kinds of edges in each part, of length 1 together."""
    pixels = np.asarray(image.convert("L"), np.float64)
    # The four pixels of each block: above and below, left and right. The filters are those of the paper.
    al, ar, bl, br = pixels[::2, ::2], pixels[::2, 1::2], pixels[1::2, ::2], pixels[1::2, 1::2]
    strengths = np.abs(
        [
            al - ar + bl - br,
            al + ar - bl - br,
            math.sqrt(2) * (al - br),
            math.sqrt(2) * (ar - bl),
            2 * (al - ar - bl + br),
        ]
    )
    kinds = np.where(strengths.max(axis=0) < _THRESHOLD, _KINDS - 1, strengths.argmax(axis=0))
    size = _SIDE // 2 // _PARTS
    part = (np.arange(_SIDE // 2) // size)[:, None] * _PARTS + np.arange(_SIDE // 2) // size
    counts = np.bincount((part * _KINDS + kinds).reshape(-1), minlength=_PARTS * _PARTS * _KINDS)
    return np.sqrt(counts / (size * size)) / _PARTS
