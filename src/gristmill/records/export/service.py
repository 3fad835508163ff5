"""Exports of one dataset: a page at a time, each in a short transaction, checked to be of the same dataset.

Between two pages nothing is held: no transaction, no connection, no thread. So a client may be slow, and neither vacuum
nor CREATE INDEX CONCURRENTLY waits for it.
"""

import uuid
from dataclasses import dataclass

import psycopg2
from sqlalchemy.exc import ProgrammingError

from gristmill.core.copy import copy_query
from gristmill.core.database import Database, read_one_moment
from gristmill.core.errors import Conflict, Contended
from gristmill.datasets.applied import AppliedDatasets
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.datasets.parents.above import attach_above
from gristmill.records.export.formats import FORMATS, Format
from gristmill.records.export.scan import ExportQuery, Scan, Values

# Seconds that Postgres may look for a page full of matches before the export reads the rows one range at a time.
SEARCH_SECONDS = 3
_HORIZON = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text"


class ContractChanged(Conflict):
    """A column of an export got another type while it was going on."""

    code = "contract_changed"
    title = "The contract has changed"


class RecordExports:
    """Starts exports."""

    def __init__(self, database: Database, datasets: DatasetLookup) -> None:
        self._database = database
        self._datasets = AppliedDatasets(datasets)

    def open(self, name: str, query: ExportQuery, format: str) -> "Export":
        """Return an export whose pages can be read. Raises UnknownDataset, DatasetFailed, Invalid."""
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as found:
            scan = Scan(attach_above(connection, found.dataset.contract, query.where), query)
            horizon = str(connection.exec_driver_sql(_HORIZON).scalar())
        made = FORMATS[format](scan.contract, scan.names)
        return Export(self._database, self._datasets, found.dataset, scan, made, horizon, found.has_table)


@dataclass
class Export:
    """One export. Not thread-safe: ``read`` is called again when it has returned.

    horizon: what transactions with numbers below it have committed is in the export as a whole, apart from what was
    replaced or deleted since; see decision 26.
    """

    _database: Database
    _datasets: AppliedDatasets
    _dataset: Dataset
    _scan: Scan
    _format: Format
    horizon: str
    _more: bool
    _last: Values | None = None
    _headed: bool = False
    rows: int = 0

    @property
    def dataset_id(self) -> uuid.UUID:
        return self._dataset.id

    @property
    def dataset_name(self) -> str:
        return self._dataset.name

    @property
    def filtered(self) -> bool:
        """Whether records may be left out."""
        return self._scan.selective

    @property
    def media_type(self) -> str:
        return self._format.media_type

    @property
    def file_name(self) -> str:
        return f"{self._dataset.name}.{self._format.suffix}"

    @property
    def done(self) -> bool:
        return not self._more

    def read(self) -> bytes:
        """Return the bytes of the next page, perhaps none; the last ones when ``done`` is true afterwards.

        A call that raised may be repeated. Raises DatabaseUnavailable, Contended; and, for good, UnknownDataset when
        the dataset is dropped, ContractChanged.
        """
        copied = self._read_page() if self._more else None
        # Nothing below reads from Postgres, so that nothing is written twice when a call is repeated.
        data = b"" if self._headed else self._format.head()
        self._headed = True
        if copied is None:
            self._more = False
            return data + self._format.tail()
        return data + self._format.page(copied)

    def _read_page(self) -> bytes | None:
        """Return what COPY gives for the next page, None when no row is left."""
        try:
            return self._copy_page()
        except Contended:
            if self._scan.bounded or not self._scan.filtered:
                raise
            # Matches are too rare to be looked for page by page.
            self._scan.bounded = True
            return self._copy_page()

    def _copy_page(self) -> bytes | None:
        try:
            end, copied = self._copy_rows()
        except (ProgrammingError, psycopg2.ProgrammingError):
            self._check()
            raise
        # Versions only go up: if the dataset is the same now, the page was read from its table.
        self._check()
        if end is None:
            return None
        self._last, hits = end
        self.rows += hits
        return copied

    def _copy_rows(self) -> tuple[tuple[Values, int] | None, bytes]:
        """Return where the page ends and its rows, as of one moment."""
        with self._database.transaction() as connection:
            read_one_moment(connection)
            if self._scan.filtered and not self._scan.bounded:
                connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{SEARCH_SECONDS}s'")
            end = self._scan.find_end(connection, self._last)
            if end is None or not end[1]:
                return end, b""
            connection.exec_driver_sql("SET LOCAL statement_timeout TO DEFAULT")
            shown = self._format.shown(self._scan.table)
            select = self._scan.select(shown, self._last, end[0])
            return end, copy_query(connection, select, self._format.copy("{}"))

    def _check(self) -> None:
        """Raise UnknownDataset or ContractChanged if the dataset is not the one that the export began with."""
        name = self._dataset.name
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as found:
            dataset = found.dataset
        if dataset.id != self._dataset.id:
            raise UnknownDataset(f"The dataset {name} was dropped while it was exported")
        old, new = self._scan.contract, dataset.contract
        for name in self._scan.names:
            if old.has_field(name) and old.field(name).type != new.field(name).type:
                raise ContractChanged(
                    f"The field {name} became {new.field(name).type} while it was exported as {old.field(name).type}"
                )
