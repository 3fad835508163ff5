"""Readers: a request body, read as a stream of validated records in constant memory."""

from gristmill.core.http.bodies import ARROW, CSV, JSON
from gristmill.records.readers.arrow import read_arrow
from gristmill.records.readers.context import Reader
from gristmill.records.readers.csv import read_csv
from gristmill.records.readers.json import read_json
from gristmill.records.readers.ndjson import read_ndjson
from gristmill.records.readers.parquet import read_parquet
from gristmill.records.readers.zip import ZIP, read_zip

_READERS: dict[str, Reader] = {
    JSON: read_json,
    "application/x-ndjson": read_ndjson,
    "application/ndjson": read_ndjson,
    "application/jsonl": read_ndjson,
    CSV: read_csv,
    "application/vnd.apache.parquet": read_parquet,
    "application/x-parquet": read_parquet,
    "application/parquet": read_parquet,
    ARROW: read_arrow,
    ZIP: read_zip,
    "application/x-zip-compressed": read_zip,
}
MEDIA_TYPES = tuple(_READERS)
# What the names of files end with.
EXTENSIONS = {
    "json": JSON,
    "ndjson": "application/x-ndjson",
    "jsonl": "application/x-ndjson",
    "csv": CSV,
    "parquet": "application/vnd.apache.parquet",
    "arrows": ARROW,
    "zip": ZIP,
}


def open_reader(name: str) -> Reader:
    """Return the reader of a media type of ``MEDIA_TYPES``."""
    return _READERS[name]
