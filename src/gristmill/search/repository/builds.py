"""SQL of how long the builds of segments took, and with how many helping processes."""

from dataclasses import dataclass

from sqlalchemy import Connection

_BEGIN = "UPDATE gristmill.segments SET build_helpers = %(helpers)s, build_seconds = NULL WHERE id = %(id)s"
_END = "UPDATE gristmill.segments SET build_helpers = %(helpers)s, build_seconds = %(seconds)s WHERE id = %(id)s"
_HELPERS = "SELECT build_helpers FROM gristmill.segments WHERE id = %(id)s"
# What a graph is made of is kept by Postgres itself: the type of its vectors, their length, and the parameters.
_LAST = """
SELECT s.rows, s.build_seconds AS seconds, s.build_helpers AS helpers, t.typname::text AS storage,
    a.atttypmod AS dimensions, p.m, p.ef_construction
FROM gristmill.segments s
JOIN pg_class c ON c.relname = s.index_name AND c.relnamespace = to_regnamespace('data')
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = 1
JOIN pg_type t ON t.oid = a.atttypid
CROSS JOIN LATERAL (
    SELECT max(option_value::int) FILTER (WHERE option_name = 'm') AS m,
        max(option_value::int) FILTER (WHERE option_name = 'ef_construction') AS ef_construction
    FROM pg_options_to_table(c.reloptions)) p
WHERE s.build_seconds > 0 AND s.build_helpers IS NOT NULL AND s.rows >= %(least)s AND p.m > 0 AND p.ef_construction > 0
ORDER BY s.built_at DESC LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class Build:
    """A build that was carried out. helpers: processes beside Postgres' own. storage: vector, halfvec or bit."""

    rows: int
    seconds: float
    helpers: int
    storage: str
    dimensions: int
    m: int
    ef_construction: int


def begin(connection: Connection, segment_id: int, helpers: int) -> None:
    """Note that the segment's index is being built."""
    connection.exec_driver_sql(_BEGIN, {"id": segment_id, "helpers": helpers})


def end(connection: Connection, segment_id: int, helpers: int, seconds: float) -> None:
    """Note how long the segment's index took."""
    connection.exec_driver_sql(_END, {"id": segment_id, "helpers": helpers, "seconds": seconds})


def find_helpers(connection: Connection, segment_id: int) -> int | None:
    """Return how many processes help to build the segment's index; None if it has not begun."""
    found: int | None = connection.exec_driver_sql(_HELPERS, {"id": segment_id}).scalar()
    return found


def list_last(connection: Connection, least: int, most: int = 5) -> list[Build]:
    """Return the last builds of at least ``least`` rows whose index is still there, of all datasets."""
    return [Build(**row) for row in connection.exec_driver_sql(_LAST, {"least": least, "most": most}).mappings()]
