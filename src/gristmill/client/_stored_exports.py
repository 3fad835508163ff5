"""Stored exports: files that the server makes in a job, and that are read in parts until they expire."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from gristmill.client._bodies import json_body
from gristmill.client._exports import ExportCalls, finished_file
from gristmill.client._jobs import Progress, Wait
from gristmill.client._parameters import time_text
from gristmill.client._paths import API, dataset_path, export_path
from gristmill.client._rows import SILENCE
from gristmill.client._transport import Json
from gristmill.client.errors import ConnectionFailed


class StoredExportCalls(ExportCalls):
    """Make, list, download and delete stored exports."""

    def create_export(
        self,
        dataset: str,
        *,
        format: str = "parquet",
        where: Mapping[str, Any] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        fields: Sequence[str] | None = None,
        embedding: bool = False,
        keep: str | None = None,
        wait: Wait = True,
        on_progress: Progress | None = None,
        idempotency_key: str | None = None,
    ) -> Json:
        """Have a file made of the matching records and return the job; its ``result`` has the ``export``'s id.

        keep: how long the file is kept, as in "24h" or "7d"; None for as long as the server keeps them.
        Raises JobFailed, JobCancelled, WaitTimeout, and Conflict where the server has no file storage.
        """
        given = {
            "format": format,
            "where": where,
            "start": time_text(start),
            "end": time_text(end),
            "fields": None if fields is None else list(fields),
            "include": ["embedding"] if embedding else None,
            "keep": keep,
        }
        body = json_body({name: value for name, value in given.items() if value is not None})
        return self._write("POST", dataset_path(dataset, "exports"), body, wait, on_progress, idempotency_key)

    def exports(self, dataset: str | None = None) -> Iterator[Json]:
        """Yield the stored exports that can be read, newest first."""
        return self._pages(f"{API}/exports", {"dataset": dataset}, "exports")

    def stored_export(self, export_id: str) -> Json:
        """Return one. Raises NotFound, also when it has expired, and Conflict while it is being made."""
        answer: Json = self._transport.call("GET", export_path(export_id))
        return answer

    def export_link(self, export_id: str, expires_in: int | None = None) -> str:
        """Return a URL that opens the file without a key for so many seconds (an hour), for tools that take URLs.

        ``polars.scan_parquet(client.export_link(id))`` reads only the parts of the file that it needs.
        """
        body = json_body({} if expires_in is None else {"expires_in": expires_in})
        answer: Json = self._transport.call("POST", export_path(export_id, "link"), body=body)
        return f"{self._transport.base_url}{answer['path']}"

    def download_export(self, export_id: str, file: str | os.PathLike[str] | IO[bytes]) -> int:
        """Write the file of a stored export to ``file`` in constant memory and return its size in bytes.

        file: a path, which is there when the download is complete and checked; or a binary file object. Where the
        connection breaks off the download goes on from there. An export of images comes as a zip. Raises
        ConnectionFailed, also where the bytes are not those that the server says.
        """
        if isinstance(file, (str, os.PathLike)):
            with finished_file(Path(file)) as target:
                return self.download_export(export_id, target)
        size = 0
        for piece in self.stored_export_pieces(export_id):
            file.write(piece)
            size += len(piece)
        return size

    def stored_export_pieces(self, export_id: str) -> Iterator[bytes]:
        """Yield the bytes of the file of a stored export, as ``download_export`` (which see) writes them.

        What does not arrive as the server says it is raises ConnectionFailed after the last piece.
        """
        found = self.stored_export(export_id)
        digest, size = hashlib.sha256(), 0
        for piece in self._transport.stream_file(found["links"]["file"], found["bytes"], SILENCE):
            yield piece
            digest.update(piece)
            size += len(piece)
        # Of an archive of many files the server says the length; each file in it has its checksum.
        if size != found["bytes"] or digest.hexdigest() != (found["sha256"] or digest.hexdigest()):
            raise ConnectionFailed(f"the file of the export {export_id} arrived with another checksum: {size} bytes")

    def delete_export(self, export_id: str, *, wait: Wait = False) -> Json:
        """Delete a stored export and return the job that removes its file. Raises NotFound."""
        return self._write("DELETE", export_path(export_id), None, wait)
