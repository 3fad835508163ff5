"""SQL of payloads that are too large for a parameter: staged by one binary COPY for a job, read back by another."""

import struct
import uuid
from collections.abc import Iterable

from sqlalchemy import Connection

from gristmill.core.copy import BINARY_HEAD, copy_out, copy_rows
from gristmill.core.database import set_time_limit

# From here on a payload goes by binary COPY: as a parameter, and as a result, it would be doubled by the hex form of
# bytea, which psycopg2 then makes and reads in Python's time.
COPY_FROM_BYTES = 64 * 1024

_STAGE = "COPY gristmill.payloads (job_id, number, bytes, data) FROM STDIN (FORMAT binary)"
# An int16 count of fields, then each field behind its int32 length.
_ROW = struct.Struct("!hi16siiiii")
_FETCH_HEAD = len(BINARY_HEAD) + 2 + 4


def stage(connection: Connection, job_id: uuid.UUID, payloads: Iterable[bytes | memoryview]) -> None:
    """Insert the payloads of chunk 0, 1, 2 … ahead of their job; a few of them at a time are in memory."""
    rows = (
        (_ROW.pack(4, 16, job_id.bytes, 4, number, 4, len(payload), len(payload)), payload)
        for number, payload in enumerate(payloads)
    )
    # They may wait for what is being read. What follows in the transaction is held to the timeout again.
    set_time_limit(connection, 0)
    copy_rows(connection, _STAGE, rows)
    set_time_limit(connection, None)


def fetch(connection: Connection, job_id: uuid.UUID, number: int) -> bytes | None:
    """Return the payload of a chunk, or None if it has none any more."""
    # COPY takes no parameters; a UUID and an integer hold nothing that could end their literals.
    query = f"SELECT data FROM gristmill.payloads WHERE job_id = '{job_id}'::uuid AND number = {number:d}"  # noqa: S608
    data = b"".join(copy_out(connection, f"COPY ({query}) TO STDOUT (FORMAT binary)")[:1])
    return data[_FETCH_HEAD:] if len(data) > _FETCH_HEAD else None
