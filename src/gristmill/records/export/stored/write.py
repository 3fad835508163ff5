"""Writes one export into the storage, page by page, in constant memory."""

import hashlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from gristmill.core.errors import GristmillError
from gristmill.core.logs import get_logger
from gristmill.records.export.service import Export
from gristmill.storage.port import Storage

log = get_logger()
# Seconds between two tries while Postgres does not answer.
_PAUSE = 1.0


@dataclass(frozen=True, slots=True)
class Written:
    """A file that is in the storage, whole."""

    fence: int
    size: int
    sha256: str
    rows: int
    horizon: str


def write_export(
    storage: Storage, name: str, export: Export, fence: int, tick: Callable[[int], None], patience: float
) -> Written:
    """Write all pages of ``export`` to the file ``name``; nothing is under the name if this raises.

    tick: called with the rows so far before each page; what it raises ends the export. patience: seconds for which
    Postgres is waited for. Raises what the storage and ``Export.read`` raise.
    """
    digest, size = hashlib.sha256(), 0
    with storage.write(name) as file:
        ended = False
        while not ended:
            tick(export.rows)
            page = _read(export, patience)
            digest.update(page)
            size += len(page)
            file.write(page)
            ended = export.done
        # A large file takes a while to become durable: nothing is completed for a job that is not wanted any more.
        tick(export.rows)
    return Written(fence, size, digest.hexdigest(), export.rows, export.horizon)


def _read(export: Export, patience: float) -> bytes:
    """Return the next page. While Postgres is away the same page is tried again, as in a streamed export."""
    deadline = time.monotonic() + patience
    while True:
        try:
            return export.read()
        except GristmillError as error:
            if not error.retryable or time.monotonic() > deadline:
                raise
            log.warning("export.waits", file=export.file_name, reason=error.detail)
            threading.Event().wait(_PAUSE)
