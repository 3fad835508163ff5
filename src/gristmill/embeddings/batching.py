"""Cuts texts into batches of bounded size, and brings vectors to length 1."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gristmill.embeddings.port import Vectors


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """How much an embedder takes at once: ``texts``, and their ``characters`` in total."""

    texts: int = 1024
    characters: int = 131_072


def batches(texts: Sequence[str], limits: BatchLimits) -> Iterator[tuple[int, list[str]]]:
    """Yield ``(index of the first text, texts)`` in order. A batch is within ``limits``, or a single longer text."""
    first = 0
    batch: list[str] = []
    characters = 0
    for index, text in enumerate(texts):
        if batch and (len(batch) == limits.texts or characters + len(text) > limits.characters):
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
