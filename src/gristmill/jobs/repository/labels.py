"""SQL of the labels that jobs have: names, values, and how many jobs have each."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection

# Jobs that are looked at, the newest ones, and names that are listed: the answer is bounded, and so is what it costs.
MOST_JOBS, MOST_NAMES = 100_000, 200
_LABELS = """
WITH looked AS MATERIALIZED (
    SELECT labels FROM gristmill.jobs
    WHERE (%(dataset)s::text IS NULL OR dataset = %(dataset)s) AND (%(type)s::text IS NULL OR type = %(type)s)
    ORDER BY id DESC LIMIT %(jobs)s
), counted AS (
    SELECT l.key AS name, l.value, count(*) AS jobs FROM looked, jsonb_each_text(looked.labels) AS l
    WHERE %(name)s::text IS NULL OR l.key = %(name)s GROUP BY 1, 2
), ranked AS (
    SELECT name, value, jobs, row_number() OVER (PARTITION BY name ORDER BY jobs DESC, value) AS place,
        sum(jobs) OVER (PARTITION BY name)::bigint AS name_jobs, count(*) OVER (PARTITION BY name) AS name_values,
        dense_rank() OVER (ORDER BY name) AS name_place
    FROM counted
)
SELECT (SELECT count(*) FROM looked) AS looked, (SELECT count(DISTINCT name) FROM counted) AS names, r.*
FROM (SELECT 1) AS always LEFT JOIN ranked r ON r.place <= %(values)s AND r.name_place <= %(names)s
ORDER BY r.name, r.place
"""


@dataclass(slots=True)
class Label:
    """A label. jobs: that have it. values: (value, jobs) of its most frequent values; values_total: of all."""

    name: str
    jobs: int
    values_total: int
    values: list[tuple[str, int]] = field(default_factory=list)


def list_labels(
    connection: Connection, *, dataset: str | None, type_: str | None, name: str | None, values: int
) -> tuple[list[Label], int, int]:
    """Return the labels in the order of their names, how many there are, and how many jobs were looked at.

    values: how many values of each are listed at most.
    """
    parameters: dict[str, Any] = {"dataset": dataset, "type": type_, "name": name, "values": values}
    rows = connection.exec_driver_sql(_LABELS, {**parameters, "jobs": MOST_JOBS, "names": MOST_NAMES}).all()
    found: dict[str, Label] = {}
    for row in rows:
        if row.name is not None:
            label = found.setdefault(row.name, Label(row.name, row.name_jobs, row.name_values))
            label.values.append((row.value, row.jobs))
    return list(found.values()), rows[0].names, rows[0].looked
