"""Rejects: the records of a job that did not fit the contract and were kept aside."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from gristmill.client._exports import finished_file
from gristmill.client._jobs import JobCalls
from gristmill.client._paths import job_path
from gristmill.client._transport import Json
from gristmill.client.errors import InvalidArgument

REJECT_SUFFIXES = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson"}
_FORMATS = ("csv", "ndjson")
_SILENCE = 60.0


class RejectCalls(JobCalls):
    """List and download what ``submit(..., on_error="quarantine")`` kept aside."""

    def rejects(self, job_id: str, *, page_size: int | None = None) -> Iterator[Json]:
        """Yield the rejects of a job, page by page as they are asked for.

        Each has ``record`` (index in the batch), ``line``, ``errors``, ``raw`` (as it was sent) and ``values``: the
        record as a mapping, to be corrected and submitted again with ``retry_of=job_id``; None where it cannot be read
        as one.
        """
        return self._pages(job_path(job_id, "rejects"), {"page_size": page_size}, "rejects")

    def download_rejects(
        self, job_id: str, file: str | os.PathLike[str] | IO[bytes], *, format: str | None = None
    ) -> int:
        """Write all rejects of a job to ``file`` in constant memory and return its size in bytes.

        file: a path, which is there when the download is complete and not before; or a binary file object.
        format: "csv" (correct it, and submit it again as it is with ``retry_of=job_id``) or "ndjson"; for a path it is
        known by the suffix. Raises ConnectionFailed if the answer breaks off.
        """
        if isinstance(file, (str, os.PathLike)):
            chosen = _format(file, format)
            with finished_file(Path(file)) as target:
                return self.download_rejects(job_id, target, format=chosen)
        size = 0
        for piece in self._transport.stream(job_path(job_id, "rejects"), {"format": _format("", format)}, _SILENCE):
            file.write(piece)
            size += len(piece)
        return size


def _format(path: str | os.PathLike[str], format: str | None) -> str:
    found = format or REJECT_SUFFIXES.get(Path(path).suffix.lower())
    if found not in _FORMATS:
        given = f"unknown format {format!r}" if format else f"cannot tell the format of {os.fspath(path)!r}"
        raise InvalidArgument(f"{given}: name one of {', '.join(_FORMATS)}")
    return found
