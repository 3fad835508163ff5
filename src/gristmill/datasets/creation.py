"""A new dataset becomes visible, in the transaction that submits the job which makes its table."""

import uuid
from typing import Any

from sqlalchemy import Connection

from gristmill.datasets import repository
from gristmill.datasets.contract import Contract
from gristmill.kit.ids import uuid7


def is_free(connection: Connection, name: str) -> bool:
    """Say whether no dataset holds the name; one whose creation failed gives it free."""
    holder = repository.find_live(connection, name)
    if holder is not None and holder["pending"]:
        # Its own creation may have been cancelled meanwhile.
        repository.fail_abandoned(connection, holder["id"])
        holder = repository.find_live(connection, name)
    return holder is None or holder["state"] == "failed"


def make_visible(connection: Connection, contract: Contract, embedder: dict[str, Any]) -> tuple[uuid.UUID, int] | None:
    """Insert a dataset and its first version; return both, or None where another one holds the name.

    embedder: the columns of the dataset that say which embedder makes its vectors.
    """
    dataset_id, stored = uuid7(), contract.as_json()
    if is_free(connection, contract.name):
        repository.release_failed(connection, contract.name)
    values = {"id": dataset_id, "name": contract.name, "contract": stored, **embedder}
    if not repository.insert_dataset(connection, values):
        return None
    return dataset_id, repository.insert_version(connection, dataset_id, stored)
