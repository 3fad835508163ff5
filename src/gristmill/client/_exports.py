"""Exports: a dataset as a file, streamed."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from gristmill.client._bodies import format_of
from gristmill.client._jobs import JobCalls
from gristmill.client._rows import export_stream
from gristmill.client.errors import InvalidArgument

EXPORT_SUFFIXES = {".csv": "csv", ".ndjson": "ndjson", ".jsonl": "ndjson", ".parquet": "parquet", ".arrows": "arrow"}


class ExportCalls(JobCalls):
    """Export a dataset."""

    def export(
        self,
        dataset: str,
        file: str | os.PathLike[str] | IO[bytes],
        *,
        format: str | None = None,
        where: Mapping[str, Any] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        fields: Sequence[str] | None = None,
        embedding: bool = False,
        compressed: bool = False,
    ) -> int:
        """Write the matching records to ``file`` in constant memory and return its size in bytes.

        file: a path, which is there when the export is complete and not before; or a binary file object.
        format: "csv", "ndjson", "parquet" or "arrow" (an IPC stream, .arrows); for a path it is known by the suffix.
        fields: the fields to export in their order; None for all. embedding: with each record's vector.
        compressed: on the way, by gzip: fewer bytes, for a slow network; a fast one would wait for it. Not the file.
        Raises ConnectionFailed if the answer breaks off: an export cannot be resumed.
        """
        chosen = {"where": where, "start": start, "end": end, "fields": fields}
        options = {**chosen, "embedding": embedding, "compressed": compressed}
        if isinstance(file, (str, os.PathLike)):
            with finished_file(Path(file)) as target:
                return self.export(dataset, target, format=format_of(file, format, EXPORT_SUFFIXES), **options)  # type: ignore[arg-type]
        if format is None:
            raise InvalidArgument(
                f"a file object needs a format: one of {', '.join(dict.fromkeys(EXPORT_SUFFIXES.values()))}"
            )
        size = 0
        for piece in self.export_pieces(dataset, format, **options):  # type: ignore[arg-type]
            file.write(piece)
            size += len(piece)
        return size

    def export_pieces(
        self,
        dataset: str,
        format: str,
        *,
        where: Mapping[str, Any] | None = None,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        fields: Sequence[str] | None = None,
        embedding: bool = False,
        compressed: bool = False,
    ) -> Iterator[bytes]:
        """Yield the bytes of an export as they arrive. Parameters and errors as of ``export``."""
        chosen, include = format_of("", format, EXPORT_SUFFIXES), ["embedding"] if embedding else None
        options: dict[str, Any] = {"where": where, "start": start, "end": end, "fields": fields, "include": include}
        return export_stream(self._transport, dataset, chosen, compressed=compressed, **options)


@contextmanager
def finished_file(path: Path) -> Iterator[IO[bytes]]:
    """Open a file beside ``path`` that takes its name at the end of the block, and is removed if that fails."""
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("wb") as file:
            yield file
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
