"""The embedders of this installation, each with its settings."""

from functools import partial

from gristmill.core.config import Settings
from gristmill.embeddings.batching import BatchLimits
from gristmill.embeddings.port import Provider
from gristmill.embeddings.providers import hashing, static
from gristmill.embeddings.registry import EmbedderRegistry


def build_embedders(settings: Settings) -> EmbedderRegistry:
    """Return the registry. What an embedder needs of ``settings`` becomes arguments of its constructor here."""
    limits = BatchLimits()
    return EmbedderRegistry(
        {
            static.NAME: Provider(static.describe, partial(static.StaticEmbedder, limits)),
            hashing.NAME: Provider(hashing.describe, partial(hashing.HashingEmbedder, limits)),
        }
    )
