"""URL paths: names and record keys, percent-encoded."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote
from uuid import UUID

from gristmill.client._json import dumps
from gristmill.client.errors import InvalidArgument

API = "/api/v1"
Key = str | int | bool | date | datetime | Decimal | UUID | Sequence[Any]


def dataset_path(name: str, *rest: str) -> str:
    """Return the path of a dataset, or of ``rest`` (already encoded) below it."""
    return "/".join((f"{API}/datasets/{_segment(name)}", *rest))


def record_path(dataset: str, key: Key) -> str:
    """Return the path of a record. A key of several fields is a sequence in the order of the contract."""
    return dataset_path(dataset, "records", _segment(key_text(key)))


def view_path(dataset: str, view: str) -> str:
    """Return the path of a view."""
    return dataset_path(dataset, "views", _segment(view))


def job_path(job_id: str, *rest: str) -> str:
    """Return the path of a job, or of ``rest`` below it."""
    return "/".join((f"{API}/jobs/{_segment(str(job_id))}", *rest))


def export_path(export_id: str, *rest: str) -> str:
    """Return the path of a stored export, or of ``rest`` below it."""
    return "/".join((f"{API}/exports/{_segment(str(export_id))}", *rest))


def export_file_path(export_id: str, file: str) -> str:
    """Return the path of one file of a stored export that has many."""
    return export_path(export_id, "files", *map(_segment, file.split("/")))


def source_path(name: str) -> str:
    """Return the path of a source."""
    return f"{API}/sources/{_segment(name)}"


def schedule_path(name: str, *rest: str) -> str:
    """Return the path of a schedule, or of ``rest`` below it."""
    return "/".join((f"{API}/schedules/{_segment(name)}", *rest))


def key_text(key: Key) -> str:
    """Return a key as the text that stands in a path: its plain form, or a JSON array for several fields."""
    if isinstance(key, str):
        return key
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, (datetime, date)):
        return key.isoformat()
    if isinstance(key, Sequence):
        return dumps(list(key)).decode()
    return str(key)


def _segment(text: str) -> str:
    # Dots are never escaped by quote(), but "." and ".." as a whole segment would be resolved away.
    if text in (".", ".."):
        return text.replace(".", "%2E")
    try:
        return quote(text, safe="")
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{text!r} cannot stand in a path: {error}") from error
