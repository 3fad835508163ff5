"""Embedders as contracts name them: which there are, and whether those of existing datasets are still the same."""

from typing import Any

from sqlalchemy import Connection

from gristmill.core.errors import Conflict, GristmillError
from gristmill.datasets import repository
from gristmill.datasets.lookup import Dataset
from gristmill.embeddings.errors import EmbedderNotInstalled
from gristmill.embeddings.port import Description
from gristmill.embeddings.registry import EmbedderRegistry


class EmbedderChanged(Conflict):
    """The vectors of a dataset were made by another version of its embedder: old and new ones do not compare."""

    code = "embedder_changed"
    title = "The embedder is another one"


def known_embedders(body: Any, default: str, embedders: EmbedderRegistry) -> dict[str, int]:
    """Return the dimensions of each installed embedder by its name.

    Raises EmbedderNotInstalled when the contract ``body`` needs one that exists and is not installed: its message
    names the extra to install, which a list of the installed ones would not.
    """
    embedding = body.get("embedding") if isinstance(body, dict) else None
    wanted = None
    if isinstance(embedding, dict) and embedding.get("from") is not None:
        wanted = embedding.get("embedder") or default
    found = {}
    for name in embedders.names():
        try:
            found[name] = embedders.describe(name).dimensions
        except EmbedderNotInstalled:
            if name == wanted:
                raise
    return found


def check_embedders(connection: Connection, embedders: EmbedderRegistry) -> list[GristmillError]:
    """Return, for each dataset whose embedder is missing here or is another version, an error that says so."""
    problems: list[GristmillError] = []
    for row in repository.list_embedded(connection):
        try:
            now = embedders.describe(row["embedder_name"])
        except GristmillError as error:
            problems.append(error)
            continue
        then = Description(row["embedder_name"], row["embedder_version"], row["embedder_dimensions"])
        if now != then:
            problems.append(
                EmbedderChanged(
                    f"The dataset {row['name']} was embedded by {then.name} {then.version} "
                    f"({then.dimensions} dimensions), but this installation has {now.version} "
                    f"({now.dimensions} dimensions): their vectors do not compare"
                )
            )
    return problems


def require_same(dataset: Dataset, name: str, version: str) -> None:
    """Raise EmbedderChanged unless the vectors of ``dataset`` were made by this version of its embedder."""
    if dataset.embedder_version not in (None, version):
        raise EmbedderChanged(
            f"The vectors of {dataset.name} were made by {name} {dataset.embedder_version}, and this installation has "
            f"{version}: their vectors do not compare"
        )
