"""Whether a filter is so selective that comparing exactly what it keeps is faster than walking graphs.

Postgres is asked what reading the records that match would cost (EXPLAIN, which reads none of them). A walk through a
graph meets records in about the order of their distance, whether they match or not: to meet k that do, it visits k
divided by the share that the filter keeps, in each graph.
"""

import re
import uuid
from dataclasses import dataclass

from sqlalchemy import Connection

from gristmill.kit.caches import SharedCache
from gristmill.search.query.effort import MAX_VISITS, Effort
from gristmill.search.query.statements import Condition
from gristmill.search.repository import planning

# Seconds for which the number of a table's rows is remembered; it only chooses between two plans with the same answer.
REMEMBERED = 10.0
MAX_REMEMBERED = 10_000
# What a visit of one record in a graph costs in units of the planner: its distances to all neighbours, wherever they
# are stored, and its filter. Measured: 7 units among 60,000 records of 256 dimensions, 35 among 200,000.
VISIT_COST = 30.0
_PLAN = re.compile(r"cost=[\d.]+\.\.([\d.]+) rows=(\d+)")


@dataclass(frozen=True, slots=True)
class Estimate:
    """How many records a filter keeps of how many, and what reading them costs, as the planner sees it."""

    rows: int
    total: int
    cost: float

    @property
    def share(self) -> float:
        """The part of the records that the filter keeps."""
        return min(1.0, max(self.rows, 1) / max(self.total, 1))

    def filter_first(self, effort: Effort) -> bool:
        """Say whether to read what the filter keeps rather than walk graphs with this effort."""
        return effort.largest >= MAX_VISITS or self.cost <= sum(effort.visits) * VISIT_COST


class Estimates:
    """Asks for estimates, remembering the sizes of tables."""

    def __init__(self) -> None:
        self._totals: SharedCache[uuid.UUID, int] = SharedCache(MAX_REMEMBERED, REMEMBERED)

    def ask(self, connection: Connection, dataset_id: uuid.UUID, table: str, where: Condition) -> Estimate:
        """Return the estimate for the filter. table: its quoted name."""
        total = self._total(connection, dataset_id, table)
        # With a column that no index holds: reading an index alone would be far cheaper than what is needed.
        first = planning.explain(connection, f"SELECT _embedding FROM {table} WHERE {where.sql}", where.parameters)
        found = _PLAN.search(first)
        assert found is not None, first
        return Estimate(int(found[2]), total, float(found[1]))

    def _total(self, connection: Connection, dataset_id: uuid.UUID, table: str) -> int:
        known = self._totals.get(dataset_id)
        if known is not None:
            return known
        return self._totals.put(dataset_id, planning.estimated_rows(connection, table))
