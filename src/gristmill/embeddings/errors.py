"""Errors of the embedding domain."""

from gristmill.core.errors import GristmillError, Invalid


class UnknownEmbedder(Invalid):
    """No embedder has this name."""

    code = "unknown_embedder"
    title = "Unknown embedder"


class WrongEmbedder(Invalid):
    """The embedder reads something else."""

    code = "wrong_embedder"
    title = "The embedder reads something else"


class EmbedderNotInstalled(GristmillError):
    """The embedder exists, but the library that it needs is not installed on this machine."""

    code = "embedder_not_installed"
    kind = "unavailable"
    status = 503
    title = "The embedder is not installed"


class EmbedderBroken(EmbedderNotInstalled):
    """The files of a model are missing or cannot be used."""

    code = "embedder_broken"
    title = "The model of the embedder cannot be used"
