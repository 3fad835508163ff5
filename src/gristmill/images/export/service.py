"""Exports of images as clients ask for them: checked in full, frozen, submitted."""

import contextlib
import secrets
import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection

from gristmill.core.config import Settings
from gristmill.core.database import Database
from gristmill.core.errors import Conflict, Contended
from gristmill.datasets.applied import AppliedDatasets
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.datasets.types.image import is_path
from gristmill.images.export.request import DAY, image_field, metadata_fields, read_request
from gristmill.images.export.schemas import ImageExportRequest
from gristmill.images.export.selection import FORMAT, Selections
from gristmill.images.export.tasks import EXPORT, QUEUE
from gristmill.images.reader import ImageReader
from gristmill.images.steps.base import ImageOperation
from gristmill.jobs.admission import Admission
from gristmill.jobs.submit import NewJob, WriteRequest, submit_once
from gristmill.records.export.stored import repository as exports
from gristmill.records.export.stored.service import StoredExports, check_room
from gristmill.records.spool import Spool, SpooledChunks
from gristmill.storage.service import Files


class ImageExports:
    """kinds: the operations on images, by their names."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        admission: Admission,
        datasets: DatasetLookup,
        files: Files,
        reader: ImageReader,
        kinds: Mapping[str, ImageOperation],
        spool: Spool,
        stored: StoredExports,
    ) -> None:
        self._settings = settings
        self._database = database
        self._admission = admission
        self._datasets = AppliedDatasets(datasets)
        self._files = files
        self._reader = reader
        self._kinds = kinds
        self._selections = Selections(spool, stored, settings.images_export_chunk_records)

    def create(self, name: str, body: bytes, request: WriteRequest) -> uuid.UUID:
        """Submit the job that makes the files and return its id, which is the export's.

        Raises UnknownDataset, DatasetFailed, Conflict while the dataset is made, NoKey, NoImageField, Invalid,
        Malformed, ExportsFull, NoFileStorage, NoImageFolder, what else keeps the storage from being used, and what
        ``Selections`` raises.
        """
        self._admission.check()
        wanted = read_request(body, self._settings.export_keep_days, self._kinds)
        self._files.get()
        with contextlib.ExitStack() as stack:
            failed: tuple[uuid.UUID, SpooledChunks] | None = None
            if wanted.only_failed_of is not None:
                # The storage is read before the transaction begins.
                failed = self._failed_of(name, wanted, wanted.only_failed_of)
                stack.callback(failed[1].close)

            def work(connection: Connection) -> NewJob:
                with self._datasets.reading(connection, name) as found:
                    dataset = self._checked(found.dataset, found.has_table, wanted)
                    check_room(connection, self._settings.export_max_stored_bytes)
                    if failed is None:
                        chunks = self._selections.matching(connection, dataset.contract, wanted.where)
                        stack.callback(chunks.close)
                    elif failed[0] == dataset.id:
                        chunks = failed[1]
                    else:
                        raise Contended(f"Another dataset is called {name} now")
                return self._job(dataset, wanted, chunks)

            return submit_once(self._database, request, work)

    def _failed_of(self, name: str, wanted: ImageExportRequest, export_id: str) -> tuple[uuid.UUID, SpooledChunks]:
        with self._database.autocommit() as connection, self._datasets.reading(connection, name) as found:
            dataset = self._checked(found.dataset, found.has_table, wanted)
        return dataset.id, self._selections.failed_of(dataset.contract, export_id)

    def _checked(self, dataset: Dataset, has_table: bool, wanted: ImageExportRequest) -> Dataset:
        """Return the dataset, to which what is wanted fits."""
        if not has_table or dataset.state != "ready":
            raise Conflict(f"The dataset {dataset.name} is still being created")
        if is_path(image_field(dataset.contract, wanted)):
            self._reader.folder()
        metadata_fields(dataset.contract, wanted)
        return dataset

    def _job(self, dataset: Dataset, wanted: ImageExportRequest, chunks: SpooledChunks) -> NewJob:
        keep = self._settings.export_keep_days if wanted.keep_days is None else wanted.keep_days
        args: dict[str, Any] = {
            "dataset_id": str(dataset.id),
            "contract_version": dataset.version,
            "chunks": len(chunks),
            "field": image_field(dataset.contract, wanted).name,
            "fields": metadata_fields(dataset.contract, wanted),
            "steps": [step.as_json() for step in wanted.steps],
            **wanted.model_dump(include={"where", "seed", "format", "quality", "only_failed_of"}),
        }

        def attach(connection: Connection, job_id: uuid.UUID) -> None:
            # Before anything is in the storage there is a row that says whose it is.
            exports.begin(
                connection,
                job_id,
                dataset=dataset.name,
                format=FORMAT,
                file_name=f"{dataset.name}.zip",
                keep=keep * DAY,
                secret=secrets.token_bytes(32),
            )

        return NewJob(
            type=EXPORT,
            # Not the dataset's own scope: an export neither waits for writes nor delays them.
            scope=f"exports:{dataset.id}",
            exclusive=False,
            args=args,
            dataset=dataset.name,
            chunks=chunks,
            queue=QUEUE,
            max_attempts=self._settings.jobs_max_attempts,
            attach=attach,
        )
