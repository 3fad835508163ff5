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
    embedder = importlib.import_module(f"{room}.static").StaticEmbedder
    # Newer versions are told how much to take at once.
    limits = find_spec("gristmill.embeddings.batching")
    known = [] if limits is None else [getattr(importlib.import_module(limits.name), "BatchLimits", None)]
    return embedder(*(kind() for kind in known if kind is not None))


def embed(texts: Sequence[str]) -> Any:
    """Return an array of shape (texts, 256), float32."""
    return _embedder().embed(texts)
