"""Request bodies that are sent in constant memory and can be sent again from the start."""

import io
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, cast

from gristmill.client import _tabs, _workbooks
from gristmill.client._frames import ArrowStream, is_frame, write_frame
from gristmill.client._json import dumps
from gristmill.client.errors import InvalidArgument

CONTENT_TYPES = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
    "zip": "application/zip",
}
# The client makes CSV of it.
WORKBOOK = "xlsx"
SUFFIXES = {
    ".json": "json",
    ".ndjson": "ndjson",
    ".jsonl": "ndjson",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".arrows": "arrow",
    ".zip": "zip",
    ".xlsx": WORKBOOK,
    ".xlsm": WORKBOOK,
}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
# What stands behind the suffix of a compressed file: the server inflates it.
ENCODINGS = {".gz": "gzip", ".zst": "zstd"}

Records = Iterable[Mapping[str, Any]] | ArrowStream | str | os.PathLike[str] | IO[bytes]

_PIECE = 256 * 1024
_IN_MEMORY = 8 * 1024 * 1024


class Body:
    """The bytes of a seekable file from where it stands to its end, their content type, and how they are compressed."""

    def __init__(self, file: IO[bytes], content_type: str, encoding: str | None = None) -> None:
        self._file = file
        self._start = file.tell()
        self.length = file.seek(0, io.SEEK_END) - self._start
        self.content_type = content_type
        self.encoding = encoding

    def pieces(self) -> Iterator[bytes]:
        """Yield the whole body, from its start at every call."""
        self._file.seek(self._start)
        while piece := self._file.read(_PIECE):
            yield piece

    def part(self, start: int, size: int) -> bytes:
        """Return ``size`` bytes from the place ``start`` of the body on, or as many as there are."""
        self._file.seek(self._start + start)
        return self._file.read(size)


def json_body(value: Any) -> Body:
    """Return ``value`` as a JSON body."""
    return Body(io.BytesIO(dumps(value)), CONTENT_TYPES["json"])


def image_search_body(search: Mapping[str, Any], image: bytes | str | os.PathLike[str]) -> Body:
    """Return a search by an image as a form. image: the bytes of a file, or the path of one."""
    data = image if isinstance(image, bytes) else Path(image).read_bytes()
    boundary = secrets.token_hex(16)
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="'
    parts = [
        f'{head}query"\r\nContent-Type: application/json\r\n\r\n'.encode(),
        dumps(search),
        f'\r\n{head}image"; filename="image"\r\nContent-Type: application/octet-stream\r\n\r\n'.encode(),
        data,
        f"\r\n--{boundary}--\r\n".encode(),
    ]
    return Body(io.BytesIO(b"".join(parts)), f"multipart/form-data; boundary={boundary}")


@contextmanager
def records_body(
    records: Records, format: str | None, as_it_is: bool = False, sheet: str | None = None
) -> Iterator[Body]:
    """Open records as a body, and close what was opened when done.

    records: an iterable of mappings (sent as NDJSON), a frame (sent as Arrow), the path of a file, or a binary file
    object.
    format: "json", "ndjson", "csv", "parquet", "arrow" (an IPC stream), "zip" (metadata and images) or "xlsx"; for
    a path None means by its suffix, behind which .gz or .zst may stand; of a .tsv the tabs become commas.
    Others take none. as_it_is: a .tsv is not changed. sheet: of a workbook of Excel ("xlsx"), which becomes CSV.
    Raises InvalidArgument for an unknown format or suffix, for a record that JSON cannot hold, and for a frame that
    Arrow cannot hold as it is.
    """
    if isinstance(records, (str, os.PathLike)):
        path, kind = Path(records), format_of(records, format)
        tabs = format is None and path.suffix.lower() == ".tsv" and not as_it_is
        with path.open("rb") as file, _file_body(file, kind, sheet, tabs, ENCODINGS.get(path.suffix.lower())) as body:
            yield body
    elif is_frame(records):
        if format not in (None, "arrow"):
            raise InvalidArgument(f"a frame is sent as arrow, not as {format!r}")
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
            write_frame(records, spool)
            spool.seek(0)
            yield Body(spool, CONTENT_TYPES["arrow"])
    elif hasattr(records, "read"):
        if format is None:
            raise InvalidArgument(f"a file object needs a format: one of {', '.join(FORMATS)}")
        with _file_body(cast(IO[bytes], records), format_of("", format), sheet) as body:
            yield body
    else:
        if format not in (None, "ndjson"):
            raise InvalidArgument(f"records given as Python objects are sent as ndjson, not as {format!r}")
        rows = cast(Iterable[Mapping[str, Any]], records)
        with _spooled(_line(index, record) for index, record in enumerate(rows)) as spool:
            yield Body(spool, CONTENT_TYPES["ndjson"])


@contextmanager
def _file_body(
    file: IO[bytes], kind: str, sheet: str | None, tabs: bool = False, encoding: str | None = None
) -> Iterator[Body]:
    """Open a file as a body. tabs: they become commas. encoding: how it is compressed."""
    with _replayable(file) as seekable:
        if kind == WORKBOOK or tabs:
            rows = _workbooks.read_as_csv(seekable, sheet) if kind == WORKBOOK else _tabs.read_as_csv(seekable)
            with _spooled(rows) as spool:
                yield Body(spool, CONTENT_TYPES["csv"])
        else:
            yield Body(seekable, CONTENT_TYPES[kind], encoding)


def csv_parameters(records: Records, format: str | None, *values: str | None) -> dict[str, str]:
    """Return the parameters of the call for CSV that is written in ``values``, those of them that are given.

    values: delimiter, decimal, thousands, encoding, null, quote. A .tsv whose tabs the client does not make commas of
    itself, as it is compressed or written in a way of its own, has tabs as its delimiter.
    """
    names = ("delimiter", "decimal", "thousands", "encoding", "null", "quote")
    given = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    if format is None and isinstance(records, (str, os.PathLike)):
        path = Path(records)
        compressed = path.suffix.lower() in ENCODINGS
        tabs = (path.with_suffix("") if compressed else path).suffix.lower() == ".tsv"
        if tabs and (compressed or given.keys() & {"encoding", "quote"}):
            given.setdefault("delimiter", "tab")
    return given


def format_of(path: str | os.PathLike[str], format: str | None, suffixes: Mapping[str, str] = SUFFIXES) -> str:
    """Return ``format`` if it is given and valid, else the one that the file's suffix stands for.

    suffixes: the formats there are, by the suffixes of their files.
    """
    formats = ", ".join(dict.fromkeys(suffixes.values()))
    if format is not None:
        if format not in suffixes.values():
            raise InvalidArgument(f"unknown format {format!r}; choose one of: {formats}")
        return format
    file = Path(path)
    suffix = (
        file.with_suffix("") if file.suffix.lower() in ENCODINGS and suffixes is SUFFIXES else file
    ).suffix.lower()
    if suffix not in suffixes:
        raise InvalidArgument(
            f"cannot tell the format of {os.fspath(path)!r} by its suffix {suffix!r} "
            f"(known: {', '.join(suffixes)}); name the format: {formats}"
        )
    return suffixes[suffix]


@contextmanager
def _spooled(pieces: Iterable[bytes]) -> Iterator[IO[bytes]]:
    """Yield the pieces as a file, in memory while they are few."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        for piece in pieces:
            spool.write(piece)
        spool.seek(0)
        yield spool


@contextmanager
def _replayable(file: IO[bytes]) -> Iterator[IO[bytes]]:
    """Yield ``file``, or a copy on disk where it can be read only once (a pipe): a resend needs all of it again."""
    if file.seekable():
        yield file
        return
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        shutil.copyfileobj(file, spool, _PIECE)
        spool.seek(0)
        yield spool


def _line(index: int, record: Mapping[str, Any]) -> bytes:
    try:
        return dumps(record) + b"\n"
    except InvalidArgument as error:
        raise InvalidArgument(f"record {index} {str(error).removeprefix('it ')}") from error
