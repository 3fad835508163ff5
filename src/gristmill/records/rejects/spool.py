"""The rejects of one request: spooled in the form in which COPY takes them, until the transaction of their job."""

import json
import struct
import uuid
from collections.abc import Iterator
from dataclasses import fields

from gristmill.core.errors import MAX_LISTED, Invalid, Violation
from gristmill.records.reject import Reject
from gristmill.records.spool import Spool, SpoolFile

# A record with hundreds of errors is understood from the first of them.
MAX_STORED_PLACES = 20
# Written at once: each write to the spool is flushed.
_BLOCK_BYTES = 64 * 1024
COLUMNS = "job_id, record, line, raw, errors, errors_total"

_JSON = json.JSONEncoder(separators=(",", ":"))
_MEMBERS = tuple(field.name for field in fields(Violation))


class TooManyRejects(Invalid):
    """So many records do not fit that the whole request is refused; ``errors`` are those of the first ones."""

    code = "too_many_rejects"
    title = "Too many records do not fit"


class RejectSpool:
    """Takes rejects one by one, at most ``most``; memory does not grow with them.

    columns: the header of a CSV body, by which the cells of its rejects are told apart; None for other formats.
    """

    def __init__(self, spool: Spool, most: int) -> None:
        self._content = SpoolFile(spool)
        self._waiting = bytearray()
        self._most = most
        self._first: list[Violation] = []
        self.count = 0
        self.columns: list[str] | None = None

    def add(self, reject: Reject) -> None:
        """Keep one. Raises TooManyRejects for one more than ``most``, Unavailable when the spool is full."""
        if self.count >= self._most:
            limit = "none may be" if self._most == 0 else f"at most {self._most} may be quarantined"
            detail = f"More than {self._most} records do not fit the contract: {limit}; nothing was stored"
            raise TooManyRejects(detail, self._first, limit=self._most)
        self.count += 1
        if len(self._first) < MAX_LISTED:
            self._first.extend(reject.violations[: MAX_LISTED - len(self._first)])
        row = copy_row(reject)
        self._waiting += struct.pack("!i", len(row)) + row
        if len(self._waiting) >= _BLOCK_BYTES:
            self._flush()

    def take_header(self, names: list[str]) -> None:
        """Keep the header of a CSV body."""
        self.columns = names

    def copy_data(self, job_id: uuid.UUID) -> Iterator[tuple[bytes, bytes]]:
        """Yield the rows for a ``COPY … (FORMAT binary)`` of ``COLUMNS``."""
        self._flush()
        start = copy_start(job_id)
        file = self._content.file
        file.seek(0)
        while size := file.read(4):
            yield start, file.read(struct.unpack("!i", size)[0])

    def close(self) -> None:
        """Free the room in the spool; may be called again."""
        self._content.close()
        self._waiting = bytearray()

    def _flush(self) -> None:
        if self._waiting:
            self._content.write(bytes(self._waiting))
            self._waiting = bytearray()


def copy_start(job_id: uuid.UUID) -> bytes:
    """Return what comes before each row of a COPY: the number of columns and the first of them."""
    return struct.pack("!hi", 6, 16) + job_id.bytes


def copy_row(reject: Reject) -> bytes:
    """Return all columns but the job's id, each with its length before it."""
    errors = _JSON.encode([_place(violation) for violation in reject.violations[:MAX_STORED_PLACES]]).encode()
    line = struct.pack("!i", -1) if reject.line is None else struct.pack("!iq", 8, reject.line)
    parts = [
        struct.pack("!iq", 8, reject.record),
        line,
        struct.pack("!i", len(reject.raw)),
        reject.raw,
        struct.pack("!i", len(errors)),
        errors,
        struct.pack("!ii", 4, len(reject.violations)),
    ]
    return b"".join(parts)


def _place(violation: Violation) -> dict[str, object]:
    """Return what ``place.as_json`` does, without its deep copy of every value: there may be a million of them."""
    members = ((name, getattr(violation, name)) for name in _MEMBERS)
    return {name: value for name, value in members if value is not None}
