"""Stored exports as clients see them: asked for, listed, read, linked to, deleted."""

import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection

from gristmill.core.config import Settings
from gristmill.core.database import Database
from gristmill.core.errors import Conflict
from gristmill.core.page_tokens import read_id_token
from gristmill.datasets.lookup import DatasetLookup
from gristmill.datasets.parents.above import attach_above
from gristmill.jobs.admission import Admission
from gristmill.jobs.submit import NewJob, WriteRequest, submit_once
from gristmill.kit.identifiers import is_name
from gristmill.kit.pagination import encode_page_token
from gristmill.kit.timestamps import rfc3339
from gristmill.records.export.stored import repository
from gristmill.records.export.stored.errors import ExportExpired, ExportNotReady, ExportsFull, UnknownExport
from gristmill.records.export.stored.links import check_link, link_query
from gristmill.records.export.stored.repository import StoredExport
from gristmill.records.export.stored.request import check_export, read_export_request
from gristmill.records.export.stored.schemas import ROOT, export_body
from gristmill.records.export.stored.tasks import export_job, remove_job
from gristmill.storage.errors import FileMissing, UnsafeName
from gristmill.storage.port import Source
from gristmill.storage.service import Files
from gristmill.storage.zips.source import ZipSource


@dataclass(frozen=True, slots=True)
class OpenExport:
    """An export whose file, or one of its files, is open to be read. path: of the latter."""

    row: StoredExport
    source: Source
    path: str = ""


class StoredExports:
    """Each method that takes an id raises UnknownExport, ExportNotReady and ExportExpired."""

    def __init__(
        self, settings: Settings, database: Database, admission: Admission, datasets: DatasetLookup, files: Files
    ) -> None:
        self._settings = settings
        self._database = database
        self._admission = admission
        self._datasets = datasets
        self._files = files

    def create(self, name: str, body: bytes, request: WriteRequest) -> uuid.UUID:
        """Submit the job that makes a file and return its id, which is the export's.

        Raises UnknownDataset, DatasetFailed, Conflict while the dataset is made, Invalid, Malformed, ExportsFull,
        NoFileStorage, and what else keeps the storage from being used: nobody waits for a job that cannot run.
        """
        self._admission.check()
        wanted = read_export_request(body, self._settings.export_keep_days)
        self._files.get()

        def work(connection: Connection) -> NewJob:
            dataset = self._datasets.get(connection, name)
            if dataset.state != "ready":
                raise Conflict(f"The dataset {name} is still being created")
            check_export(attach_above(connection, dataset.contract, wanted.query.where), wanted)
            check_room(connection, self._settings.export_max_stored_bytes)
            return export_job(dataset, self._settings.jobs_max_attempts, **wanted.args())

        return submit_once(self._database, request, work)

    def list(self, dataset: str | None, page_size: int, page_token: str | None) -> dict[str, Any]:
        """Return a page of exports that can be read, newest first. Raises Malformed for a bad page token."""
        query = f"exports of {dataset}"
        before = read_id_token(page_token, query)
        if dataset is not None and not is_name(dataset):
            return {"exports": [], "next_page_token": None}
        with self._database.autocommit() as connection:
            rows = repository.list_ready(connection, dataset, before, page_size + 1)
        more = len(rows) > page_size
        rows = rows[:page_size]
        token = encode_page_token([str(rows[-1].id)], query) if more else None
        return {"exports": [export_body(row) for row in rows], "next_page_token": token}

    def find(self, export_id: str) -> StoredExport:
        """Return an export that can be read."""
        return self._find(export_id)

    def get(self, export_id: str) -> dict[str, Any]:
        return export_body(self._find(export_id))

    def link(self, export_id: str, seconds: int) -> dict[str, Any]:
        """Return a path that needs no key for so many seconds, and not longer than the export is kept."""
        row = self._find(export_id)
        assert row.expires_at is not None
        expires = min(int(time.time()) + seconds, int(row.expires_at.timestamp()))
        path = f"{ROOT}/{row.id}/{row.file_name}?{link_query(row, expires)}"
        return {"path": path, "expires_at": rfc3339(datetime.fromtimestamp(expires, UTC))}

    def open(self, export_id: str, file_name: str, link: tuple[str, str] | None) -> OpenExport:
        """Open the file. link: expires and signature where these stand for a key. Raises BadLink too."""
        row = self._find(export_id, link)
        if file_name != row.file_name:
            raise UnknownExport(f"The export {row.id} has no file {file_name[:80]!r}; its file is {row.file_name}")
        try:
            storage = self._files.get()
            if row.is_folder:
                return OpenExport(row, ZipSource(storage, row.archive, row.files))
            return OpenExport(row, storage.open(row.stored_name))
        except FileMissing as error:
            raise ExportExpired(f"The file of the export {row.id} is gone: {error.detail}") from error

    def open_one(self, export_id: str, path: str) -> OpenExport:
        """Open one file of an export of many. Raises UnknownExport where it has no such file."""
        row = self._find(export_id)
        if not row.is_folder:
            raise UnknownExport(f"The export {row.id} is one file, {row.file_name}, and no folder")
        try:
            return OpenExport(row, self._files.get().open(f"{row.files}/{path}"), path)
        except (UnsafeName, FileMissing) as error:
            raise UnknownExport(f"The export {row.id} has no file {path[:80]!r}: see its metadata.csv") from error

    def delete(self, export_id: str, request: WriteRequest) -> uuid.UUID:
        """Take an export from its readers at once, and submit the job that removes its file; return the job's id."""
        row = self._row(export_id)

        def work(connection: Connection) -> NewJob:
            if not repository.delete(connection, row.id):
                _check(row)
                raise ExportExpired(f"The export {row.id} is deleted")
            return remove_job(self._settings.jobs_max_attempts, row)

        return submit_once(self._database, request, work)

    def _find(self, export_id: str, link: tuple[str, str] | None = None) -> StoredExport:
        row = self._row(export_id)
        if link is not None:
            check_link(row, *link)
        _check(row)
        return row

    def _row(self, export_id: str) -> StoredExport:
        try:
            found = uuid.UUID(export_id)
        except ValueError:
            raise UnknownExport(f"There is no export {export_id[:80]!r}: its id is that of its job, a UUID") from None
        with self._database.autocommit() as connection:
            row = repository.find(connection, found)
        if row is None:
            raise UnknownExport(f"There is no export {found}: none was made, or it is forgotten")
        return row


def check_room(connection: Connection, most: int) -> None:
    """Raise ExportsFull where the stored exports have ``most`` bytes or more."""
    used = repository.stored_bytes(connection)
    if used >= most:
        raise ExportsFull(
            f"Stored exports have {used} bytes and the limit is {most} (export_max_stored_bytes):"
            " delete some, or wait until they expire",
            retry_after=60,
        )


def _check(row: StoredExport) -> None:
    """Raise unless an export can be read."""
    if row.state == "writing":
        raise ExportNotReady(f"The export {row.id} is not ready: see its job, /api/v1/jobs/{row.id}")
    if row.state != "ready" or row.expired:
        # What is removed before its time was deleted.
        what = f"expired at {rfc3339(row.expires_at)}" if row.expired else "was deleted"
        raise ExportExpired(f"The export {row.id} of {row.dataset} {what}: ask for another one")
