"""Readers: a request body, read as a stream of validated records in constant memory."""

from gristmill.core.errors import UnsupportedMedia
from gristmill.records.readers.arrow import read_arrow
from gristmill.records.readers.context import Reader
from gristmill.records.readers.csv import read_csv
from gristmill.records.readers.json import read_json
from gristmill.records.readers.ndjson import read_ndjson
from gristmill.records.readers.parquet import read_parquet

JSON = "application/json"
_READERS: dict[str, Reader] = {
    JSON: read_json,
    "application/x-ndjson": read_ndjson,
    "application/ndjson": read_ndjson,
    "application/jsonl": read_ndjson,
    "text/csv": read_csv,
    "application/vnd.apache.parquet": read_parquet,
    "application/x-parquet": read_parquet,
    "application/parquet": read_parquet,
    "application/vnd.apache.arrow.stream": read_arrow,
}
MEDIA_TYPES = tuple(_READERS)


def media_type(content_type: str | None) -> str:
    """Return the media type of a Content-Type header, checked. Raises UnsupportedMedia listing the valid ones."""
    head, *parameters = (content_type or "").split(";")
    name = head.strip().lower()
    if name not in _READERS:
        given = f"The Content-Type {name!r} is not supported" if name else "The Content-Type is missing"
        raise UnsupportedMedia(f"{given}; valid are: {', '.join(_READERS)}", supported=list(_READERS))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        charset = value.strip().strip('"').lower()
        if key.strip().lower() == "charset" and charset not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMedia(f"The charset {charset!r} is not supported: send UTF-8")
    return name


def open_reader(name: str) -> Reader:
    """Return the reader of a media type that ``media_type`` returned."""
    return _READERS[name]
