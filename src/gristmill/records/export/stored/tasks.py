"""The jobs of stored exports: ``exports.create`` makes a file, ``exports.remove`` takes files away.

Rows are transactional, files are named by job and fence: a file counts once the row names it, in the transaction that
ends the chunk. What other attempts have left in the job's folder is removed, or adopted if it was complete.
"""

import secrets
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.errors import Contended
from gristmill.core.logs import get_logger
from gristmill.datasets.errors import UnknownDataset
from gristmill.datasets.lookup import DROPPED, Dataset, DatasetLookup
from gristmill.datasets.sizes import estimate
from gristmill.jobs.errors import JobDropped, LostChunk
from gristmill.jobs.handlers import ChunkTask, IdempotentHandler, Outcome, TransactionalHandler
from gristmill.jobs.repository import read
from gristmill.jobs.states import JobState
from gristmill.jobs.submit import NewJob
from gristmill.records.export.scan import ExportQuery
from gristmill.records.export.service import Export, RecordExports
from gristmill.records.export.stored import repository
from gristmill.records.export.stored.schemas import result_of
from gristmill.records.export.stored.write import Written, write_export
from gristmill.storage.errors import FileMissing
from gristmill.storage.port import Storage
from gristmill.storage.service import Files

log = get_logger()
CREATE, REMOVE = "exports.create", "exports.remove"
QUEUE = "long"
# Exports that one job removes; the next one goes on.
MOST_REMOVED = 1000
# The scope of jobs that remove what is due: one at a time.
ALL_EXPORTS = "exports"


class CreateExportHandler(TransactionalHandler):
    """Writes a dataset, or a selection of it, to a file. args: dataset_id, contract_version, format, query, keep."""

    type = CREATE
    queue = QUEUE

    def __init__(
        self, database: Database, datasets: DatasetLookup, exports: RecordExports, files: Files, patience: float
    ) -> None:
        self._database = database
        self._datasets = datasets
        self._exports = exports
        self._files = files
        self._patience = patience

    def prepare(self, task: ChunkTask) -> Written:
        """Return the file of this job: made now, or by an attempt that could not say so any more."""
        storage = self._files.get(fresh=True)
        try:
            export = self._open(task)
            row = self._begin(task, export)
            adopted = _adopted(storage, row)
            kept = repository.stored_leaf(adopted.fence, row.file_name) if adopted is not None else ""
            storage.clear(row.folder, keep=(kept,))
            if adopted is not None:
                log.info("export.adopted", file=row.stored_name)
                return adopted
            return self._write(storage, task, row, export)
        except UnknownDataset as error:
            # Another name is another table: what was read so far goes on in none. Raises JobDropped where it is gone.
            raise Contended(f"The dataset is called {self._name(task)} now: the export begins anew") from error

    def apply(self, connection: Connection, task: ChunkTask, prepared: Written) -> Outcome:
        row = repository.make_ready(connection, task.job_id, prepared.fence)
        if row is None:
            raise LostChunk("another attempt has written the export")
        log.info("export.stored", file=row.stored_name, rows=row.rows, bytes=row.size)
        return Outcome(rows=row.rows, result=result_of(row))

    def _open(self, task: ChunkTask) -> Export:
        query = ExportQuery(**task.args["query"])
        export = self._exports.open(self._name(task), query, task.args["format"])
        if str(export.dataset_id) != task.args["dataset_id"]:
            raise UnknownDataset("The dataset was renamed or dropped, and another one has its name")
        return export

    def _name(self, task: ChunkTask) -> str:
        """Return what the dataset is called now. Raises JobDropped where it is gone."""
        dataset_id, version = uuid.UUID(task.args["dataset_id"]), task.args["contract_version"]
        with self._database.autocommit() as connection:
            dataset = self._datasets.by_id(connection, dataset_id, version)
        if dataset.state != "ready":
            raise JobDropped(DROPPED)
        return dataset.name

    def _begin(self, task: ChunkTask, export: Export) -> repository.StoredExport:
        with self._database.transaction() as connection:
            return repository.begin(
                connection,
                task.job_id,
                dataset=export.dataset_name,
                format=task.args["format"],
                file_name=export.file_name,
                keep=task.args["keep"],
                secret=secrets.token_bytes(32),
            )

    def _write(self, storage: Storage, task: ChunkTask, row: repository.StoredExport, export: Export) -> Written:
        name = f"{row.folder}/{repository.stored_leaf(task.fence, row.file_name)}"
        found = write_export(storage, name, export, task.fence, self._tick(task, export), self._patience)
        values = {"size": found.size, "sha256": bytes.fromhex(found.sha256), "rows": found.rows}
        with self._database.transaction() as connection:
            mine = repository.written(connection, task.job_id, task.fence, horizon=found.horizon, **values)
        if not mine:
            storage.remove(name)
            raise LostChunk("another attempt has written the export")
        return found

    def _tick(self, task: ChunkTask, export: Export) -> Callable[[int], None]:
        """Return what is called at each page: it ends the attempt where that is due, and reports the progress."""
        with self._database.autocommit() as connection:
            sizes = estimate(connection, [export.dataset_name]).get(export.dataset_name)
        total = 0 if sizes is None or export.filtered else sizes.rows

        def tick(rows: int) -> None:
            task.check()
            if total:
                task.report(min(0.99, rows / total))

        return tick


class RemoveExportsHandler(IdempotentHandler):
    """Removes the files of one export (args: id), or of all that are due, and what nobody knows of any more."""

    type = REMOVE
    queue = QUEUE

    def __init__(self, database: Database, files: Files, *, grace: float) -> None:
        self._database = database
        self._files = files
        self._grace = grace

    def run(self, task: ChunkTask) -> Outcome:
        storage = self._files.get(fresh=True)
        if "id" in task.args:
            return Outcome(result={"removed": self._remove(storage, uuid.UUID(task.args["id"]))})
        removed = 0
        for export_id in due_exports(self._database, self._grace):
            task.check()
            removed += self._remove(storage, export_id)
        return Outcome(result={"removed": removed, "unknown": self._remove_unknown(storage, task)})

    def _remove(self, storage: Storage, export_id: uuid.UUID) -> int:
        _clear(storage, export_id)
        with self._database.transaction() as connection:
            repository.note_removed(connection, export_id)
        log.info("export.removed", export=str(export_id))
        return 1

    def _remove_unknown(self, storage: Storage, task: ChunkTask) -> int:
        """Remove folders without a row. A row is there before its folder, so what is listed first has had its time."""
        found = []
        for folder in (repository.FOLDER, repository.FILES_FOLDER):
            for name in storage.children(folder):
                try:
                    found.append(uuid.UUID(name))
                except ValueError:
                    log.warning("export.foreign_file", file=f"{folder}/{name}")
        with self._database.autocommit() as connection:
            unknown = set(found) - repository.known(connection, found)
        for export_id in unknown:
            task.check()
            _clear(storage, export_id)
        return len(unknown)


def due_exports(database: Database, grace: float) -> list[uuid.UUID]:
    """Return the exports whose files are to go: expired, deleted, or of jobs that have ended without one.

    Of an export that is a folder the chunks that are done stay for as long as it would have been kept: a retry of the
    failed job goes on from there.
    """
    with database.autocommit() as connection:
        found = repository.due(connection, grace, MOST_REMOVED)
        jobs = read.get_jobs(connection, [one.id for one in found if one.state == "writing"])
    by_id = {row["id"]: row for row in jobs}
    return [one.id for one in found if one.state != "writing" or _is_given_up(one, by_id.get(one.id))]


def _is_given_up(export: repository.Due, job: Mapping[str, Any] | None) -> bool:
    """Say whether an export that is not ready never will be."""
    if job is None:
        return True
    if job["finished_at"] is None:
        return False
    if job["state"] != JobState.FAILED or export.format not in repository.FOLDER_FORMATS:
        return True
    return bool(datetime.now(UTC) - job["finished_at"] > timedelta(seconds=export.keep_seconds))


def _clear(storage: Storage, export_id: uuid.UUID) -> None:
    # First what readers see, so that nothing is there that nothing else is known of.
    storage.clear(repository.files_of(export_id))
    storage.clear(repository.folder_of(export_id))


def _adopted(storage: Storage, row: repository.StoredExport) -> Written | None:
    """Return the file that an earlier attempt has noted, if it is there as it was noted."""
    if row.fence is None or row.size is None or row.sha256 is None:
        return None
    try:
        source = storage.open(row.stored_name)
    except FileMissing:
        return None
    size = source.size
    source.close()
    if size != row.size:
        return None
    return Written(row.fence, row.size, row.sha256, row.rows or 0, row.horizon or "")


def export_job(dataset: Dataset, max_attempts: int, **args: Any) -> NewJob:
    """Return the job that makes an export. args: format, query, keep."""
    # Not the dataset's own scope: an export neither waits for writes nor delays them.
    of = {"dataset_id": str(dataset.id), "contract_version": dataset.version}
    return _job(CREATE, f"exports:{dataset.id}", dataset.name, max_attempts, **of, **args)


def remove_job(max_attempts: int, row: repository.StoredExport | None = None) -> NewJob:
    """Return the job that removes the file of one export, or of all that are due."""
    if row is None:
        return _job(REMOVE, ALL_EXPORTS, None, max_attempts)
    return _job(REMOVE, f"export:{row.id}", row.dataset, max_attempts, id=str(row.id))


def _job(type_: str, scope: str, dataset: str | None, max_attempts: int, **args: Any) -> NewJob:
    return NewJob(
        type=type_,
        scope=scope,
        exclusive=False,
        args=args,
        dataset=dataset,
        queue=QUEUE,
        max_attempts=max_attempts,
    )
