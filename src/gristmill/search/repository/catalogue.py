"""SQL of the segment catalogue: which ranges of ``_id`` have an index, and in which state each is."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection

from gristmill.core.prepared import Prepared, execute

_COLUMNS = "id, dataset_id, lo, hi, index_name, state, rows, job_id, built_at, held_step, half_precision"
# Prepared: searches ask once a second, and the one that does must not take longer for it than it has to.
_READY = Prepared(
    """
    SELECT lo, hi, held_step, half_precision, s.id, rows, curve FROM gristmill.segments s
    LEFT JOIN gristmill.segment_curves c ON c.segment_id = s.id
    WHERE dataset_id = %(dataset_id)s AND state = 'ready' ORDER BY lo
    """,
    dataset_id="uuid",
)
_ALL = f"SELECT {_COLUMNS} FROM gristmill.segments WHERE dataset_id = %(dataset_id)s ORDER BY lo, id"  # noqa: S608 - constants
_INSERT = f"""
WITH drawn AS (SELECT nextval(pg_get_serial_sequence('gristmill.segments', 'id')) AS id)
INSERT INTO gristmill.segments (id, dataset_id, lo, hi, index_name, state, job_id, held_step, half_precision)
SELECT id, %(dataset_id)s, %(lo)s, %(hi)s, %(table)s || '__seg' || id, 'building', %(job_id)s, %(held_step)s,
    %(half_precision)s
FROM drawn
RETURNING {_COLUMNS}
"""  # noqa: S608 - constants
_FINISH = """
UPDATE gristmill.segments SET state = %(state)s, rows = %(rows)s, built_at = now()
WHERE id = %(id)s AND state = 'building'
"""
_ABSORB = """
UPDATE gristmill.segments s SET state = 'dropping' FROM gristmill.segments mine
WHERE mine.id = %(id)s AND s.dataset_id = mine.dataset_id AND s.id <> mine.id AND s.state = 'ready'
    AND s.lo >= mine.lo AND s.hi <= mine.hi
"""
# A rebuild ends here: everything that it built becomes ready at once, in place of everything that was.
_REPLACE = """
UPDATE gristmill.segments SET state = 'dropping'
WHERE dataset_id = %(dataset_id)s AND state = 'ready' AND lo < %(end)s
"""
_SWAP = """
UPDATE gristmill.segments SET state = 'ready'
WHERE dataset_id = %(dataset_id)s AND state = 'built' AND job_id = %(job_id)s
"""
_RETIRE = """
UPDATE gristmill.segments SET state = 'dropping'
WHERE dataset_id = %(dataset_id)s AND state = 'ready' AND lo >= %(lo)s AND hi <= %(hi)s
"""
_GIVE_UP = "UPDATE gristmill.segments SET state = 'dropping' WHERE id = %(id)s AND state IN ('building', 'built')"
_DELETE = "DELETE FROM gristmill.segments WHERE id = %(id)s"
_DELETE_ALL = "DELETE FROM gristmill.segments WHERE dataset_id = %(dataset_id)s"
_RENAME = """
UPDATE gristmill.segments SET index_name = %(new)s || substr(index_name, length(%(old)s) + 1)
WHERE dataset_id = %(dataset_id)s
"""
_LEFTOVERS = "SELECT DISTINCT dataset_id FROM gristmill.segments WHERE state <> 'ready'"


# Records that are not in the graph of their segment stand together in blocks of so many numbers: a block is a page or
# two of the table, and each search compares them all.
BLOCK = 16


class Range(NamedTuple):
    """The records with ``lo <= _id < hi``, whose graph is walked.

    held_step: blocks whose number is a multiple of it are not in the graph; 0: all are. half_precision: the graph holds
    the directions of the vectors as 16-bit floats, not the vectors. ef: of the walk; 0 where all walks of a search have
    the same.
    """

    lo: int
    hi: int
    held_step: int = 0
    half_precision: bool = False
    ef: int = 0


class Ready(NamedTuple):
    """A ready segment, as searches see it. rows: at the time of the build. curve: what was learnt of it, or None."""

    range: Range
    id: int
    rows: int
    curve: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Segment:
    """A row of the catalogue: the records with ``lo <= _id < hi``. held_step, half_precision: as in ``Range``."""

    id: int
    dataset_id: uuid.UUID
    lo: int
    hi: int
    index_name: str
    state: str
    rows: int
    job_id: uuid.UUID | None = None
    built_at: datetime | None = None
    held_step: int = 0
    half_precision: bool = False

    @property
    def range(self) -> Range:
        return Range(self.lo, self.hi, self.held_step, self.half_precision)


def ready_segments(connection: Connection, dataset_id: uuid.UUID) -> tuple[Ready, ...]:
    """Return every ready segment, in the order of their ranges."""
    rows = execute(connection, {"dataset_id": str(dataset_id)}, _READY)
    return tuple(Ready(Range(*row[:4]), *row[4:]) for row in rows)


def ready_ranges(connection: Connection, dataset_id: uuid.UUID) -> tuple[Range, ...]:
    """Return the range of every ready segment, in order."""
    return tuple(segment.range for segment in ready_segments(connection, dataset_id))


def is_ready(connection: Connection, segment_id: int) -> bool:
    """Say whether searches use the segment: it was not replaced, and its dataset is there."""
    sql = "SELECT state = 'ready' FROM gristmill.segments WHERE id = %(id)s"
    return bool(connection.exec_driver_sql(sql, {"id": segment_id}).scalar())


def all_segments(connection: Connection, dataset_id: uuid.UUID) -> list[Segment]:
    rows = connection.exec_driver_sql(_ALL, {"dataset_id": str(dataset_id)})
    return [_segment(row) for row in rows]


def insert_building(
    connection: Connection, dataset_id: uuid.UUID, table: str, range_: Range, job_id: uuid.UUID
) -> Segment:
    """Add a segment in the state ``building``; its index is named after the table and the segment's id."""
    values = {"dataset_id": str(dataset_id), "table": table, "job_id": str(job_id), **range_._asdict()}
    return _segment(connection.exec_driver_sql(_INSERT, values).one())


def finish(connection: Connection, segment_id: int, rows: int) -> bool:
    """Make the segment ready in place of those within its range; False if it is gone, with its dataset."""
    connection.exec_driver_sql(_ABSORB, {"id": segment_id})
    return bool(connection.exec_driver_sql(_FINISH, {"id": segment_id, "rows": rows, "state": "ready"}).rowcount)


def finish_part(connection: Connection, segment_id: int, rows: int) -> bool:
    """Note that the segment's index is complete and waits for the other parts of a rebuild; False if it is gone."""
    return bool(connection.exec_driver_sql(_FINISH, {"id": segment_id, "rows": rows, "state": "built"}).rowcount)


def swap(connection: Connection, dataset_id: uuid.UUID, job_id: uuid.UUID, end: int) -> int:
    """Make what the job has built ready in place of every segment before ``end``; return how many became ready."""
    connection.exec_driver_sql(_REPLACE, {"dataset_id": str(dataset_id), "end": end})
    return connection.exec_driver_sql(_SWAP, {"dataset_id": str(dataset_id), "job_id": str(job_id)}).rowcount


def retire(connection: Connection, dataset_id: uuid.UUID, lo: int, hi: int) -> None:
    """Give up the ready segments within [lo, hi): their records are compared one by one from now on."""
    connection.exec_driver_sql(_RETIRE, {"dataset_id": str(dataset_id), "lo": lo, "hi": hi})


def give_up(connection: Connection, segment_id: int) -> None:
    """Leave a segment that was not finished, and its index, to be removed by the next build."""
    connection.exec_driver_sql(_GIVE_UP, {"id": segment_id})


def delete(connection: Connection, segment_id: int) -> None:
    connection.exec_driver_sql(_DELETE, {"id": segment_id})


def delete_all(connection: Connection, dataset_id: uuid.UUID) -> None:
    connection.exec_driver_sql(_DELETE_ALL, {"dataset_id": str(dataset_id)})


def rename(connection: Connection, dataset_id: uuid.UUID, old: str, new: str) -> None:
    """Note that the dataset's table, and with it the indexes of its segments, has another name."""
    connection.exec_driver_sql(_RENAME, {"dataset_id": str(dataset_id), "old": old, "new": new})


def leftovers(connection: Connection) -> set[uuid.UUID]:
    """Return the datasets with segments that are being built, or that wait to be removed."""
    return {uuid.UUID(str(row[0])) for row in connection.exec_driver_sql(_LEFTOVERS)}


def _segment(row: Any) -> Segment:
    return Segment(row[0], uuid.UUID(str(row[1])), *row[2:])
