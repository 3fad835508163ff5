"""The embedder ``hashing``: signed feature hashing of words, word pairs and character trigrams; it has no weights.

It finds texts that share words or parts of words, not texts that mean the same.
Sources: Weinberger et al., Feature Hashing for Large Scale Multitask Learning, ICML 2009 (the signed hashing trick);
Bojanowski et al., Enriching Word Vectors with Subword Information, TACL 2017 (character n-grams within word bounds).
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gristmill.embeddings.batching import BatchLimits, batches, normalise
from gristmill.embeddings.port import Description, Vectors

NAME = "hashing"
VERSION = "1"
DIMENSIONS = 256

Hashes = NDArray[np.uint64]
Rows = NDArray[np.int64]

# Whole words say most. Pairs add word order; trigrams add spelling, and every word has many of them.
_WORD_WEIGHT = 1.0
_PAIR_WEIGHT = 0.5
_TRIGRAM_WEIGHT = 0.5
# Odd 64-bit constants (the first two of splitmix64) keep the positions and the kinds of features apart.
_FIRST, _SECOND, _THIRD = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_WORD = re.compile(r"\w+")
_BLANK = ord(" ")


def describe() -> Description:
    """Return name, version and dimensions."""
    return Description(NAME, VERSION, DIMENSIONS)


class HashingEmbedder:
    """Hashes each feature to one of 256 positions with a sign, so that collisions cancel on average."""

    def __init__(self, limits: BatchLimits) -> None:
        self.name, self.version, self.dimensions = describe()
        self._limits = limits

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for first, batch in batches(texts, self._limits):
            vectors[first : first + len(batch)] = self._embed(batch)
        return normalise(vectors)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(_words_of(text)) for text in texts]

    def _embed(self, texts: list[str]) -> NDArray[np.float64]:
        split = [_words_of(text) for text in texts]
        sums = np.zeros(len(texts) * self.dimensions)
        for (hashes, rows), weight in (
            (_words(split), _WORD_WEIGHT),
            (_pairs(split), _PAIR_WEIGHT),
            (_trigrams(split), _TRIGRAM_WEIGHT),
        ):
            places = (hashes % np.uint64(self.dimensions)).astype(np.int64) + rows * self.dimensions
            # The position is taken from the low bits and the sign from the highest, so the two are independent.
            signs = np.where(hashes >> np.uint64(63), -weight, weight)
            sums += np.bincount(places, weights=signs, minlength=len(sums))
        return sums.reshape(len(texts), self.dimensions)


def _words_of(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def _words(split: list[list[str]]) -> tuple[Hashes, Rows]:
    # Python's own hash() is salted in every process; BLAKE2 is the same everywhere and for ever.
    known = {
        word: int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
        for word in {word for words in split for word in words}
    }
    hashes = np.array([known[word] for words in split for word in words], dtype=np.uint64)
    return hashes, np.repeat(np.arange(len(split)), [len(words) for words in split])


def _pairs(split: list[list[str]]) -> tuple[Hashes, Rows]:
    hashes, rows = _words(split)
    within = rows[:-1] == rows[1:]
    return _mix(hashes[:-1] * _FIRST + hashes[1:] * _SECOND)[within], rows[:-1][within]


def _trigrams(split: list[list[str]]) -> tuple[Hashes, Rows]:
    lines = [" " + " ".join(words) + " " for words in split]
    points = np.frombuffer("".join(lines).encode("utf-32-le"), dtype="<u4").astype(np.uint64)
    rows = np.repeat(np.arange(len(lines)), [len(line) for line in lines])
    if len(points) < 3:
        return np.empty(0, dtype=np.uint64), np.empty(0, dtype=np.int64)
    # A trigram may begin or end with the blank around a word, but spans neither two words nor two texts: those have a
    # blank in the middle.
    middle = points[1:-1] != _BLANK
    hashes = _mix(points[:-2] * _FIRST + points[1:-1] * _SECOND + points[2:] * _THIRD)
    return hashes[middle], rows[1:-1][middle]


def _mix(values: Hashes) -> Hashes:
    """Spread the bits of each value over all 64 (the finaliser of splitmix64, Steele et al., OOPSLA 2014)."""
    values = (values ^ (values >> np.uint64(30))) * _SECOND
    values = (values ^ (values >> np.uint64(27))) * _THIRD
    return values ^ (values >> np.uint64(31))
