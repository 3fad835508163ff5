"""SQL of the counters of all processes."""

from collections.abc import Sequence

from sqlalchemy import Connection

_ADD = """
INSERT INTO gristmill.counters AS c (name, labels, value)
SELECT * FROM unnest(%(names)s::text[], %(labels)s::text[], %(values)s::float[])
ON CONFLICT (name, labels) DO UPDATE SET value = c.value + EXCLUDED.value
"""
_READ = "SELECT name, labels, value FROM gristmill.counters ORDER BY name, labels"


def add(connection: Connection, counts: Sequence[tuple[tuple[str, str], float]]) -> None:
    """Add to counters, given as ((name, label), amount), in one order of row locks for all processes."""
    ordered = sorted(counts)
    parameters = {
        "names": [key[0] for key, _ in ordered],
        "labels": [key[1] for key, _ in ordered],
        "values": [value for _, value in ordered],
    }
    connection.exec_driver_sql(_ADD, parameters)


def read_counters(connection: Connection) -> list[tuple[str, str, float]]:
    """Return (name, label, value) of every counter."""
    return [(row[0], row[1], row[2]) for row in connection.exec_driver_sql(_READ)]
