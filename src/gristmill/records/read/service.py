"""Reads of one dataset's records: finds the dataset, opens the connection, answers in JSON."""

from typing import Any

from gristmill.core.database import Database
from gristmill.datasets.applied import AppliedDatasets
from gristmill.datasets.describe import shorten
from gristmill.datasets.keys import parse_key
from gristmill.datasets.lookup import DatasetLookup
from gristmill.kit.entity_tags import Tag
from gristmill.records.errors import UnknownRecord
from gristmill.records.read.pages import PageQuery, read_latest, read_one, read_page


class RecordReads:
    """Synchronous reads. Every method raises UnknownDataset for a name that no dataset has."""

    def __init__(self, database: Database, datasets: DatasetLookup) -> None:
        self._database = database
        self._datasets = AppliedDatasets(datasets)

    def get(self, name: str, key: str, embedding: bool = False) -> tuple[dict[str, Any], Tag]:
        """Return the record with the key ``key``, as it stands in a URL, and its ETag.

        Raises UnknownRecord, NoKey, Invalid.
        """
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as found:
            contract = found.dataset.contract
            values = parse_key(contract, key)
            one = read_one(connection, contract, values, embedding) if found.has_table else None
            version = found.dataset.version
        if one is None:
            raise UnknownRecord(f"The dataset {name} has no record with the key {shorten(key)}")
        record, written = one
        return record, written.tag(version)

    def latest(self, name: str, count: int, embedding: bool = False) -> dict[str, Any]:
        """Return ``{"records": [...]}``, newest first."""
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as found:
            contract = found.dataset.contract
            return {"records": read_latest(connection, contract, count, embedding) if found.has_table else []}

    def page(self, name: str, query: PageQuery) -> dict[str, Any]:
        """Return ``{"records": [...], "next_page_token": ...}``; the token is null on the last page."""
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as found:
            contract, identity = found.dataset.contract, query.identity(found.dataset.id)
            page = read_page(connection, contract, query, identity, has_table=found.has_table)
        return {"records": page.records, "next_page_token": page.next_page_token}
