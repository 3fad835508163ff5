"""A dataset is dropped: its sources fail in that transaction, with that as the reason."""

import uuid

from sqlalchemy import Connection

from gristmill.sources.errors import SourceFailed
from gristmill.sources.repository.requests import fail_sources_of, notify


def dataset_dropped(name: str) -> SourceFailed:
    """Return the reason."""
    return SourceFailed(f"The dataset {name} is dropped: delete the source, or create it anew for another dataset")


def fail_sources(connection: Connection, dataset_id: uuid.UUID, name: str) -> None:
    """Let the sources of a dataset fail, as it is being dropped."""
    if fail_sources_of(connection, dataset_id, dataset_dropped(name).problem()):
        notify(connection)
