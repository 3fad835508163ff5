"""Cuts texts into batches of bounded size, and brings vectors to length 1."""

from collections.abc import Iterator, Sequence

import numpy as np

from gristmill.embeddings.port import Vectors

MAX_TEXTS = 1024
MAX_CHARACTERS = 131_072


def batches(texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield ``(index of the first text, texts)`` in order.

    A batch has at most 1,024 texts and 131,072 characters, or is a single longer text.
    """
    first = 0
    batch: list[str] = []
    characters = 0
    for index, text in enumerate(texts):
        if batch and (len(batch) == MAX_TEXTS or characters + len(text) > MAX_CHARACTERS):
            yield first, batch
            first, batch, characters = index, [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield first, batch


def normalise(vectors: Vectors) -> Vectors:
    """Scale each row to length 1 in place; a row without a direction becomes NaN."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    lengths[lengths == 0] = np.nan
    vectors /= lengths
    return vectors
