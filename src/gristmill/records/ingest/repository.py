"""SQL of the keys of one request: two records with one key are found by Postgres, whatever the request's size."""

import struct
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection

from gristmill.core.copy import copy_rows
from gristmill.core.database import set_time_limit
from gristmill.core.errors import MAX_LISTED

# One for the session, empty outside of the transaction that fills it.
_CREATE = (
    "CREATE TEMP TABLE IF NOT EXISTS submitted_keys (digest uuid, record bigint) ON COMMIT DELETE ROWS;"
    " DELETE FROM pg_temp.submitted_keys"
)
_COPY = "COPY pg_temp.submitted_keys (digest, record) FROM STDIN (FORMAT binary)"
_REPEATED = """
WITH k AS (SELECT record, min(record) OVER (PARTITION BY digest) AS first FROM pg_temp.submitted_keys)
SELECT record, first, count(*) OVER () FROM k WHERE record > first ORDER BY record LIMIT %(limit)s
"""
# An int16 count of fields, then each field behind its int32 length.
_ROW = struct.Struct("!hi16siq")


def repeated(connection: Connection, keys: Iterable[tuple[bytes, int]]) -> tuple[list[tuple[int, int]], int]:
    """Return the first 100 records whose key an earlier one has, each with the first that has it; and how many do.

    keys: a digest of 16 bytes and the place of each record; taken one by one.
    """
    connection.exec_driver_sql(_CREATE)
    set_time_limit(connection, 0)
    copy_rows(connection, _COPY, ((_ROW.pack(2, 16, digest, 8, record),) for digest, record in keys))
    found: list[Any] = list(connection.exec_driver_sql(_REPEATED, {"limit": MAX_LISTED}))
    set_time_limit(connection, None)
    return [(record, first) for record, first, _ in found], found[0][2] if found else 0
