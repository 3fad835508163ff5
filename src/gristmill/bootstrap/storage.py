"""The file storage of this installation, by its URL."""

import importlib
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

from gristmill.core.config import Settings
from gristmill.core.database import Database
from gristmill.storage.errors import FileStorageRefused
from gristmill.storage.local import LocalFolder
from gristmill.storage.port import Storage
from gristmill.storage.service import Files


def build_files(settings: Settings, database: Database) -> Files:
    """Return the storage that ``storage.url`` names; nothing is opened before it is needed."""
    if not settings.storage_url:
        return Files(database, None)
    return Files(database, partial(open_storage, settings, settings.storage_url, settings.storage_max_file_bytes))


def open_storage(settings: Settings, place: str, max_file_bytes: int) -> Storage:
    """Return the folder or bucket that a URL names; buckets with the server and credentials of ``[storage]``."""
    url = urlsplit(place)
    if url.scheme == "s3":
        return _open_bucket(settings, url.netloc, url.path, max_file_bytes)
    return LocalFolder(Path(unquote(url.path) if url.scheme == "file" else place), max_file_bytes)


def _open_bucket(settings: Settings, name: str, prefix: str, max_file_bytes: int) -> Storage:
    try:
        s3 = importlib.import_module("gristmill.storage.s3")
    except ModuleNotFoundError as error:
        raise FileStorageRefused(f"The bucket {name} needs {error.name}: install the extra `gristmill[s3]`") from error
    bucket = s3.Bucket(
        name,
        prefix=prefix,
        endpoint=settings.storage_endpoint,
        region=settings.storage_region,
        access_key=settings.storage_access_key,
        secret_key=settings.storage_secret_key,
        timeout=settings.storage_timeout,
    )
    found: Storage = s3.S3Bucket(bucket, max_file_bytes)
    return found
