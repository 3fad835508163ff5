"""Errors of the embedding domain."""

from gristmill.core.errors import GristmillError, Invalid


class UnknownEmbedder(Invalid):
    """No embedder has this name."""

    code = "unknown_embedder"
    title = "Unknown embedder"


class EmbedderNotInstalled(GristmillError):
    """The embedder exists, but the library that it needs is not installed on this machine."""

    code = "embedder_not_installed"
    kind = "unavailable"
    status = 503
    title = "The embedder is not installed"
