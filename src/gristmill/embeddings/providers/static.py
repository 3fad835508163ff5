"""The embedder ``static``: 256-d averaged token vectors of WordLlama, whose weights ship inside its wheel.

Source: https://github.com/dleemiller/WordLlama (token embeddings distilled from Llama 2, MIT licence).
"""

import importlib.metadata
import logging
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from gristmill.embeddings.batching import BatchLimits, batches, normalise
from gristmill.embeddings.errors import EmbedderNotInstalled
from gristmill.embeddings.port import Description, Vectors

NAME = "static"
DIMENSIONS = 256
_WEIGHTS = "l2_supercat"
# Tokens whose vectors are gathered at once: 8,192 x 256 x 4 bytes = 8 MiB, however long the text is.
_BLOCK = 8192


def describe() -> Description:
    """Return name, version and dimensions without loading the weights. Raises EmbedderNotInstalled."""
    try:
        package = importlib.metadata.version("wordllama")
    except importlib.metadata.PackageNotFoundError as error:
        raise _not_installed() from error
    return Description(NAME, f"wordllama-{package}-{_WEIGHTS}", DIMENSIONS)


class StaticEmbedder:
    """Averages the vectors of a text's tokens: about 30,000 short texts a second on one core.

    Construction loads the weights (about 0.5 s, 35 MB). One thread does the work: the parallelism of Gristmill is in
    its worker processes, and a thread pool that was started before a fork would hang after it.
    """

    def __init__(self, limits: BatchLimits) -> None:
        self.name, self.version, self.dimensions = describe()
        self._limits = limits
        self._tokenizer, self._table = _load()

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), self.dimensions), dtype=np.float32)
        for first, batch in batches(texts, self._limits):
            encodings = self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            for offset, (text, encoding) in enumerate(zip(batch, encodings, strict=True)):
                # The vocabulary has tokens for runs of blanks; as a whole text they mean nothing.
                if text and not text.isspace():
                    self._add(vectors[first + offset], encoding.ids)
        return normalise(vectors)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        found: list[int] = []
        for _, batch in batches(texts, self._limits):
            found += [len(one.ids) for one in self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)]
        return found

    def _add(self, row: Vectors, ids: list[int]) -> None:
        # The sum has the direction of the mean, and the length is normalised away.
        for start in range(0, len(ids), _BLOCK):
            row += self._table[ids[start : start + _BLOCK]].sum(axis=0)


@lru_cache(maxsize=1)
def _load() -> tuple[Any, Vectors]:
    """Return tokenizer and table of token vectors; they are loaded once in a process, whoever embeds."""
    # Rust's thread pool in the tokenizer is switched off by this variable only.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        import wordllama  # noqa: PLC0415 - the library belongs to an extra, and only this embedder pays for its import
    except ImportError as error:
        raise _not_installed() from error
    finally:
        # Importing wordllama calls logging.basicConfig(); the log format is ours to choose.
        root.handlers[:], root.level = handlers, level
    # Left to itself the loader looks for its tokenizer in the wrong folder and then tries to download it.
    model = wordllama.WordLlama.load(
        config=_WEIGHTS, cache_dir=Path(wordllama.__file__).parent, dim=DIMENSIONS, disable_download=True
    )
    # Padding to the longest text of a batch would let one long text multiply the memory of all.
    model.tokenizer.no_padding()
    model.tokenizer.no_truncation()
    return model.tokenizer, model.embedding


def _not_installed() -> EmbedderNotInstalled:
    return EmbedderNotInstalled(
        "The embedder 'static' needs the package wordllama: pip install 'gristmill[static]'. "
        "The embedder 'hashing' needs nothing."
    )
