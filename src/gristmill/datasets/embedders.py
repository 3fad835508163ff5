"""Embedders as contracts name them: which there are, and whether those of existing datasets are still the same."""

from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import Connection

from gristmill.core.errors import Conflict, GristmillError
from gristmill.datasets import repository
from gristmill.datasets.contract import EmbeddingColumn
from gristmill.datasets.embedding_checks import IMAGE_EMBEDDER, KnownEmbedder
from gristmill.datasets.lookup import Dataset
from gristmill.datasets.types import TYPES
from gristmill.datasets.types.matrices import vector_column
from gristmill.embeddings.errors import EmbedderNotInstalled
from gristmill.embeddings.port import Description, Vectors
from gristmill.embeddings.registry import EmbedderRegistry


class EmbedderChanged(Conflict):
    """The vectors of a dataset were made by another version of its embedder: old and new ones do not compare."""

    code = "embedder_changed"
    title = "The embedder is another one"


def known_embedders(body: Any, default: str, embedders: EmbedderRegistry) -> dict[str, KnownEmbedder]:
    """Return the installed embedders by their names.

    Raises EmbedderNotInstalled when the contract ``body`` needs one that exists and is not installed: its message
    names the extra to install, which a list of the installed ones would not.
    """
    wanted = _wanted(body, default)
    found = {}
    for name in embedders.names():
        try:
            dimensions = embedders.describe(name).dimensions
            found[name] = KnownEmbedder(dimensions, embedders.reads(name), embedders.gives(name))
        except EmbedderNotInstalled:
            if name == wanted:
                raise
    return found


def _wanted(body: Any, default: str) -> Any:
    """Return the name of the embedder that a contract needs, whose structure nobody has checked yet; None for none."""
    embedding = body.get("embedding") if isinstance(body, dict) else None
    names = embedding.get("from") if isinstance(embedding, dict) else None
    if not isinstance(embedding, dict) or names is None:
        return None
    fields = body.get("fields")
    listed = [one for one in fields if isinstance(one, dict)] if isinstance(fields, list) else []
    types = {str(one.get("name")): TYPES.get(str(one.get("type"))) for one in listed}
    kinds = [types.get(str(name)) for name in names] if isinstance(names, list) else []
    images = bool(kinds) and all(kind is not None and kind.read_by == "image" for kind in kinds)
    return embedding.get("embedder") or (IMAGE_EMBEDDER if images else default)


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


def embedding_values(column: EmbeddingColumn, vectors: Vectors) -> pa.Array:
    """Return what an embedder made, of shape (rows, dimensions), as the payload column; rows with NaN are null."""
    if column.storage != "bit":
        return vector_column(vectors, vectors.shape[1])
    null: list[bool] = np.isnan(vectors).any(axis=1).tolist()  # type: ignore[assignment]
    digits = np.where(np.nan_to_num(vectors) > 0, ord("1"), ord("0")).astype(np.uint8)
    return pa.array(
        [None if gone else row.tobytes().decode() for row, gone in zip(digits, null, strict=True)], pa.string()
    )
