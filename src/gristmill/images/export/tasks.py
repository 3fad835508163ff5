"""Handler of ``images.export``.

Files of a chunk are durable before its part is noted, under the chunk's fence; so no attempt makes again what another
one has made. The attempt that notes the last part finds all of them and joins what they say, before its chunk ends; the
chunk that ends last gives the export to its readers, in the transaction that ends the job.
"""

import uuid
from collections.abc import Iterator, Mapping

from sqlalchemy import Connection

from gristmill.core.database import Database
from gristmill.core.logs import get_logger
from gristmill.images.export.assembly import assemble
from gristmill.images.export.change import ImageChange
from gristmill.images.export.chunk import make_part
from gristmill.images.export.errors import ExportRemoved
from gristmill.images.export.names import IMAGES
from gristmill.images.export.records import ExportedDatasets
from gristmill.images.export.repository import parts
from gristmill.images.export.repository.parts import Part
from gristmill.images.export.schemas import result_of
from gristmill.images.reader import ImageReader
from gristmill.images.steps.base import ImageOperation
from gristmill.jobs.errors import LostChunk
from gristmill.jobs.handlers import ChunkTask, Outcome, TransactionalHandler
from gristmill.jobs.repository import claim
from gristmill.records.export.stored import repository as exports
from gristmill.records.export.stored.repository import StoredExport
from gristmill.storage.port import Storage
from gristmill.storage.service import Files

log = get_logger()
EXPORT = "images.export"
QUEUE = "long"


class ImageExportHandler(TransactionalHandler):
    """Exports images. args: dataset_id, contract_version, chunks, field, fields, steps, seed, format, quality.

    payload: the columns of the key.
    """

    type = EXPORT
    queue = QUEUE

    def __init__(
        self,
        database: Database,
        datasets: ExportedDatasets,
        files: Files,
        reader: ImageReader,
        kinds: Mapping[str, ImageOperation],
    ) -> None:
        self._database = database
        self._datasets = datasets
        self._files = files
        self._reader = reader
        self._kinds = kinds

    def prepare(self, task: ChunkTask) -> tuple[Part, Storage]:
        storage = self._files.get(fresh=True)
        with self._database.autocommit() as connection:
            export = exports.find(connection, task.job_id)
            part = parts.find(connection, task.job_id, task.number)
        if export is None or export.state != "writing":
            raise _removed(task)
        if part is None:
            part = self._make(storage, task, export)
        else:
            log.info("image_export.adopted", part=part.number, made_under=part.fence)
        # This part is there for all to see before the others are looked for: of those who note theirs at the same
        # moment, at least one finds all.
        with self._database.autocommit() as connection:
            found = parts.totals(connection, task.job_id)
        if found.parts == task.args["chunks"]:
            self._assemble(storage, task, export)
        return part, storage

    def apply(self, connection: Connection, task: ChunkTask, prepared: tuple[Part, Storage]) -> Outcome:
        part, storage = prepared
        # Whoever holds the export sees which of the others have ended.
        export = exports.hold(connection, task.job_id)
        if export is None or export.state != "writing":
            raise _removed(task)
        parts.end(connection, task.job_id, task.number)
        found = parts.totals(connection, task.job_id)
        result = None
        if found.ended == task.args["chunks"]:
            assert export.size is not None  # noted with the first part, and again by whoever has joined them
            # No attempt is left that could be writing one of the few files here.
            storage.remove_unfinished(export.files)
            ready = exports.make_folder_ready(
                connection, task.job_id, size=export.size, rows=found.images, failed=found.failed
            )
            assert ready is not None  # it is held
            result = result_of(ready)
            log.info("image_export.ready", images=ready.rows, failed=ready.failed, bytes=ready.size)
        label = task.dataset or ""
        return Outcome(
            succeeded=part.images,
            rejected=part.failed,
            result=result,
            counted={("images_exported", label): part.images, ("images_failed", label): part.failed},
        )

    def _make(self, storage: Storage, task: ChunkTask, export: StoredExport) -> Part:
        args = task.args
        change = ImageChange(
            self._reader,
            self._kinds,
            args["steps"],
            seed=args["seed"],
            format=args["format"],
            quality=args["quality"],
        )
        part = make_part(storage, task, export, self._datasets.open(task), change)
        with self._database.transaction() as connection:
            if not claim.hold(connection, task.job_id, task.number, task.fence):
                raise LostChunk("the chunk was given to another worker")
            if exports.hold(connection, task.job_id) is None:
                raise _removed(task)
            parts.insert(connection, task.job_id, part)
            exports.note_size(connection, task.job_id, parts.totals(connection, task.job_id).size)
        log.info("image_export.part", part=part.number, images=part.images, failed=part.failed, bytes=part.size)
        return part

    def _assemble(self, storage: Storage, task: ChunkTask, export: StoredExport) -> None:
        # All images are there: what else is being written among them belongs to killed attempts, or to lost ones.
        storage.remove_unfinished(f"{export.files}/{IMAGES}")
        size = assemble(storage, export, task.args["fields"], lambda: self._fences(task.job_id), task.check)
        with self._database.transaction() as connection:
            exports.note_size(connection, task.job_id, size)
        log.info("image_export.assembled", bytes=size)

    def _fences(self, export_id: uuid.UUID) -> Iterator[tuple[int, int]]:
        """Yield (number, fence) of all parts; no connection is held while a part is read."""
        after = -1
        while True:
            with self._database.autocommit() as connection:
                found = parts.list_fences(connection, export_id, after)
            yield from found
            if len(found) < parts.PIECE:
                return
            after = found[-1][0]


def _removed(task: ChunkTask) -> ExportRemoved:
    return ExportRemoved(
        f"The files of the export {task.job_id} are not kept any more: it failed too long ago; ask for another one"
    )
