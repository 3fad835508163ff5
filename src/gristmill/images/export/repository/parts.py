"""SQL of the parts of exports."""

import uuid
from typing import NamedTuple

from sqlalchemy import Connection

# Parts that are listed at once.
PIECE = 1000
_INSERT = """
INSERT INTO gristmill.image_export_parts (export_id, number, fence, images, failed, bytes)
VALUES (%(id)s, %(number)s, %(fence)s, %(images)s, %(failed)s, %(size)s)
"""
_FIND = """
SELECT number, fence, images, failed, bytes FROM gristmill.image_export_parts
WHERE export_id = %(id)s AND number = %(number)s
"""
_END = "UPDATE gristmill.image_export_parts SET ended = true WHERE export_id = %(id)s AND number = %(number)s"
_TOTALS = """
SELECT count(*), count(*) FILTER (WHERE ended), coalesce(sum(images), 0)::bigint, coalesce(sum(failed), 0)::bigint,
    coalesce(sum(bytes), 0)::bigint
FROM gristmill.image_export_parts WHERE export_id = %(id)s
"""
_AFTER = """
SELECT number, fence FROM gristmill.image_export_parts WHERE export_id = %(id)s AND number > %(after)s
ORDER BY number LIMIT %(limit)s
"""


class Part(NamedTuple):
    """What a chunk has made. fence: of the attempt that did, which is part of the names of what it says of records."""

    number: int
    fence: int
    images: int
    failed: int
    size: int


class Totals(NamedTuple):
    """Of all parts of an export. ended: how many of their chunks have ended."""

    parts: int
    ended: int
    images: int
    failed: int
    size: int


def insert(connection: Connection, export_id: uuid.UUID, part: Part) -> None:
    """Note a part. Call it while the chunk is held under the part's fence, so that there never is another one."""
    connection.exec_driver_sql(_INSERT, {"id": str(export_id), **part._asdict()})


def find(connection: Connection, export_id: uuid.UUID, number: int) -> Part | None:
    row = connection.exec_driver_sql(_FIND, {"id": str(export_id), "number": number}).first()
    return None if row is None else Part(*row)


def end(connection: Connection, export_id: uuid.UUID, number: int) -> None:
    """Note that the part's chunk has ended, in the transaction that ends it."""
    connection.exec_driver_sql(_END, {"id": str(export_id), "number": number})


def totals(connection: Connection, export_id: uuid.UUID) -> Totals:
    return Totals(*connection.exec_driver_sql(_TOTALS, {"id": str(export_id)}).one())


def list_fences(connection: Connection, export_id: uuid.UUID, after: int) -> list[tuple[int, int]]:
    """Return (number, fence) of up to PIECE parts behind ``after``, in the order of the chunks."""
    rows = connection.exec_driver_sql(_AFTER, {"id": str(export_id), "after": after, "limit": PIECE})
    return [(row[0], row[1]) for row in rows]
