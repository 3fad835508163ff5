"""The datasets with an embedding, and how far their records have indexes. Datasets are read by their own repository."""

import uuid
from dataclasses import dataclass

from sqlalchemy import Connection

from gristmill.datasets import repository as datasets

_SEALED = """
SELECT dataset_id, max(hi), sum(id)::bigint FROM gristmill.segments WHERE state = 'ready' GROUP BY dataset_id
"""
_HELD = "SELECT dataset_id FROM gristmill.index_settings WHERE hold"


@dataclass(frozen=True, slots=True)
class Searchable:
    """A dataset with an embedding, as the builder sees it."""

    name: str
    state: str
    metric: str
    dimensions: int
    storage: str = "vector"

    @property
    def half_precision(self) -> bool:
        """Whether new graphs hold the directions of the vectors as 16-bit floats (see ``query.vector.direction``)."""
        return self.metric == "cosine" and self.storage == "vector"

    @property
    def graph_storage(self) -> str:
        """What new graphs hold: vector, halfvec or bit."""
        return "halfvec" if self.half_precision else self.storage


@dataclass(frozen=True, slots=True)
class Sealed:
    """A ready dataset with an embedding. sealed_to: first ``_id`` of the tail. hold: its builds are held back.

    signature: changes with every segment that becomes ready or goes; 0 without any.
    """

    id: uuid.UUID
    name: str
    sealed_to: int = 1
    signature: int = 0
    hold: bool = False


def find_searchable(connection: Connection, dataset_id: uuid.UUID) -> Searchable | None:
    """Return what the builder needs to know of a dataset; None if there is none, or it has no embedding."""
    row = datasets.find(connection, dataset_id)
    embedding = None if row is None else row["contract"].get("embedding")
    if row is None or embedding is None:
        return None
    return Searchable(
        row["name"], row["state"], embedding["metric"], embedding["dimensions"], embedding.get("storage", "vector")
    )


def list_sealed(connection: Connection) -> list[Sealed]:
    """Return every ready dataset with an embedding."""
    sealed = {row[0]: (row[1], row[2]) for row in connection.exec_driver_sql(_SEALED)}
    held = set(connection.exec_driver_sql(_HELD).scalars())
    return [
        Sealed(id_, name, *sealed.get(id_, (1, 0)), hold=id_ in held)
        for id_, name in datasets.list_ready_with(connection, "embedding")
    ]
