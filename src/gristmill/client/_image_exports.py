"""Exports of images: files that the server makes of the images of records, read as stored exports are."""

import codecs
import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gristmill.client._bodies import json_body
from gristmill.client._jobs import Progress, Wait
from gristmill.client._paths import dataset_path, export_file_path
from gristmill.client._rows import SILENCE
from gristmill.client._stored_exports import StoredExportCalls
from gristmill.client._transport import Json


class ImageExportCalls(StoredExportCalls):
    """Export images, and read what is said of them. ``download_export`` brings all files as a zip."""

    def export_images(
        self,
        dataset: str,
        *,
        field: str | None = None,
        where: Mapping[str, Any] | None = None,
        steps: Sequence[Mapping[str, Any]] = (),
        seed: int = 0,
        format: str | None = None,
        quality: int | None = None,
        fields: Sequence[str] | None = None,
        keep_days: float | None = None,
        only_failed_of: str | None = None,
        wait: Wait = True,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Have a file made of the image of each matching record and return the job, whose id is the export's.

        field: the image field; None where there is only one. steps: operations on each image, as in
        ``[{"op": "image_resize", "width": 256, "height": 256}]``; without them, format and quality files are copied.
        fields: those of metadata.csv. only_failed_of: an export; only the records that failed in it.
        Raises JobFailed, JobCancelled, WaitTimeout, and Conflict where the server has no place for files or images.
        """
        given = {
            "field": field,
            "where": where,
            "steps": [dict(step) for step in steps],
            "seed": seed,
            "format": format,
            "quality": quality,
            "fields": None if fields is None else list(fields),
            "keep_days": keep_days,
            "only_failed_of": only_failed_of,
        }
        body = json_body({name: value for name, value in given.items() if value is not None})
        return self._write("POST", dataset_path(dataset, "images", "export"), body, wait, on_progress, idempotency_key)

    def export_failures(self, export_id: str) -> Iterator[Json]:
        """Yield the records whose image could not be exported: ``key``, ``code`` and ``reason``, in their order."""
        return self._export_rows(export_id, "failures.csv")

    def export_metadata(self, export_id: str) -> Iterator[Json]:
        """Yield what metadata.csv says of each image, as texts: the fields, and ``file``, its place in the export."""
        return self._export_rows(export_id, "metadata.csv")

    def export_file(self, export_id: str, path: str) -> bytes:
        """Return one file of an export of images, as in "images/10001.jpg". Raises NotFound."""
        return b"".join(self._transport.stream(export_file_path(export_id, path), {}, SILENCE))

    def _export_rows(self, export_id: str, name: str) -> Iterator[Json]:
        pieces = self._transport.stream(export_file_path(export_id, name), {}, SILENCE)
        yield from csv.DictReader(_lines(pieces))


def _lines(pieces: Iterable[bytes]) -> Iterator[str]:
    """Yield lines with their ends, so that one within a cell stays as it is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    rest = ""
    for piece in pieces:
        *whole, rest = (rest + decoder.decode(piece)).split("\n")
        yield from (f"{line}\n" for line in whole)
    if rest:
        yield rest
