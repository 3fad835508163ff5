"""Vectors of texts by the embedder ``static``, wherever the version that is measured keeps it."""

import importlib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any


@cache
def _embedder() -> Any:
    rooms = ("gristmill.embeddings.providers", "gristmill.embeddings")
    room = next(room for room in rooms if find_spec(room) is not None and find_spec(f"{room}.static") is not None)
    static = importlib.import_module(f"{room}.static")
    # Newer versions are told how much to take at once.
    limits = getattr(static, "BatchLimits", None)
    return static.StaticEmbedder() if limits is None else static.StaticEmbedder(limits())


def embed(texts: Sequence[str]) -> Any:
    """Return an array of shape (texts, 256), float32."""
    return _embedder().embed(texts)
