"""Puts the statement of a plan together, and asks Postgres for what has to be known before: bounds, names, counts."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.types import TYPES
from gristmill.kit.zone_changes import FIRST_MOMENT, LAST_MOMENT, Offsets, offsets_between
from gristmill.records.aggregate import repository
from gristmill.records.aggregate.base import base_of, bounds_of
from gristmill.records.aggregate.bucket_sql import BucketSql
from gristmill.records.aggregate.errors import NameTaken, TooManyColumns, TooManyRows
from gristmill.records.aggregate.filling import filled
from gristmill.records.aggregate.groups import finished, grouped, records
from gristmill.records.aggregate.plan import Plan
from gristmill.records.aggregate.relation import Relation
from gristmill.records.aggregate.reshape_sql import melted_rows, pivoted_rows
from gristmill.records.aggregate.reshaping import MAX_COLUMNS, check_melt
from gristmill.records.aggregate.schemas import Pivot
from gristmill.records.aggregate.time_checks import UTC, microseconds
from gristmill.records.aggregate.windows import rolled


class Statement:
    """The rows that a plan asks for, of ``table``, as of one moment. most: rows that an answer may have.

    rows: what is to be selected. offsets: of the zone, over all edges of buckets. Raises Invalid for what only the
    records show: too many columns, names that are taken, too many rows to fill.
    """

    def __init__(self, connection: Connection, plan: Plan, table: sa.FromClause, most: int) -> None:
        self._connection = connection
        self._plan = plan
        self._table = table
        self._most = most
        self.offsets = Offsets((FIRST_MOMENT,), (0,))
        self.rows = self._reshaped(self._computed())

    def _computed(self) -> Relation:
        plan = self._plan
        base = base_of(plan, self._table)
        rendered = repository.render(self._connection, base.select)
        if plan.fields is not None:
            relation = records(plan, base, rendered)
        else:
            low, high = self._bounds()
            buckets = self._buckets(low, high)
            relation = grouped(plan, base, rendered, buckets)
            if buckets is not None and plan.fill != "none" and low is not None and high is not None:
                self._check_fill(low, high)
                relation = filled(plan, relation, buckets, low, high)
            relation = finished(plan, relation, buckets)
        relation = self._ordered(relation)
        for index, step in enumerate(plan.rolling):
            relation = rolled(relation, step, f"w{index}")
        return relation

    def _bounds(self) -> tuple[int | None, int | None]:
        """Return the first and the last moment of the window, None where no record has one and none was named."""
        plan = self._plan
        if plan.buckets is None or plan.time is None:
            return None, None
        low, high = plan.start, plan.end
        fills = plan.fill != "none"
        if (low is None or high is None) and (fills or not (plan.buckets.is_simple and plan.zone == UTC)):
            least, most = repository.read_row(self._connection, bounds_of(plan, self._table, fills))
            low, high = least if low is None else low, most if high is None else high
        if low is None or high is None or low > high:
            return None, None
        return microseconds(low), microseconds(high)

    def _buckets(self, low: int | None, high: int | None) -> BucketSql | None:
        plan = self._plan
        if plan.buckets is None or plan.time is None:
            return None
        if low is None or high is None:
            # Nothing is found, or the buckets are the same whatever is.
            low = high = 0
            self.offsets = offsets_between(plan.zone, low, high)
        else:
            layout = plan.buckets.layout(low, high)
            first, last = layout.bucket(low)[0], layout.bucket(high)[1]
            self.offsets = offsets_between(plan.zone, first, last)
            low, high = max(low, FIRST_MOMENT), min(high, LAST_MOMENT)
        return BucketSql(plan.buckets.layout(low, high), plan.time.type == "date")

    def _check_fill(self, low: int, high: int) -> None:
        """Raises TooManyRows, before anything is filled."""
        plan = self._plan
        assert plan.buckets is not None
        count = plan.buckets.layout(low, high).count(low, high)
        groups = 1
        if plan.by and count <= self._most:
            names = [self._table.c[field.name] for field in plan.by]
            chosen = base_of(plan, self._table).select.with_only_columns(*names).distinct().subquery()
            (groups,) = repository.read_row(self._connection, sa.select(sa.func.count()).select_from(chosen))
        if count * groups > self._most:
            told = f"{count} buckets" + (f" of each of {groups} groups" if plan.by and count <= self._most else "")
            reason = f"Filled, there are {told}, and an answer has at most {self._most} rows (aggregate_max_rows)"
            more = "take longer buckets, or a shorter window"
            raise TooManyRows(f"{reason}: {more}", [Violation("/fill", "too_many_rows", reason, field="fill")])

    def _ordered(self, relation: Relation) -> Relation:
        """Return the rows in the order that was asked for, and as many."""
        plan = self._plan
        terms = [(relation.column(name).label, down) for name, down in plan.order]
        named = {label for label, _ in terms}
        order = (*terms, *(term for term in relation.order if term[0] not in named))
        found = Relation(relation.steps, relation.columns, relation.time, relation.sequence, order, relation.unique)
        if plan.limit is None or not (plan.rolling or plan.pivot or plan.melt):
            return found
        labels = ", ".join(found.labels) or "1 AS u"
        return found.then(f"SELECT {labels} FROM {found.name}{found.order_by()} LIMIT {plan.limit}")

    @property
    def limit(self) -> int:
        """Rows to select: one more than there may be, so that too many are noticed."""
        reshaped = self._plan.rolling or self._plan.pivot or self._plan.melt
        limit = None if reshaped else self._plan.limit
        return self._most + 1 if limit is None else min(limit, self._most + 1)

    def _reshaped(self, relation: Relation) -> Relation:
        plan = self._plan
        if plan.pivot is not None:
            relation = pivoted_rows(relation, plan.pivot, self._names(relation, plan.pivot))
        if plan.melt is not None:
            fields = [column.field for column in relation.columns]
            found = list(check_melt(plan.melt, fields)) if plan.pivot is not None else []
            if found:
                raise Invalid(f"The melt is not valid: {found[0].reason}", found)
            relation = melted_rows(relation, plan.melt)
        return relation

    def _names(self, relation: Relation, pivot: Pivot) -> list[str]:
        """Return the names of the columns of a pivot, in the order of the values. Raises TooManyColumns, NameTaken."""
        key = relation.column(pivot.columns)
        distinct = f"(SELECT DISTINCT {key.label} AS k FROM {relation.name}) AS d"
        steps = f"WITH {', '.join(relation.steps)}"
        count = repository.read_value(self._connection, f"{steps} SELECT count(*) FROM {distinct}")
        if count > MAX_COLUMNS:
            reason = f"{pivot.columns} has {count} values, and a pivot has at most {MAX_COLUMNS} columns"
            raise TooManyColumns(
                f"{reason}: filter them with where, or group by it and read rows",
                [Violation("/pivot/columns", "too_many_columns", reason, field=pivot.columns)],
                columns=count,
            )
        column: Any = sa.literal_column("k", TYPES[key.field.type].column(key.field))
        written = repository.render(self._connection, TYPES[key.field.type].csv_cell(column))
        listed = f"{steps} SELECT ({written})::text FROM {distinct} ORDER BY k"
        values = repository.read_values(self._connection, listed)
        names = [pivot.prefix + ("null" if value is None else value) for value in values]
        taken = {column.name for column in relation.columns if column.name not in (pivot.columns, pivot.column)}
        if pivot.index is not None:
            taken = set(pivot.index)
        for place, name in enumerate(names):
            if name in taken:
                what = (
                    "null and a text" if place == len(names) - 1 and values[place] is None else "a value and a column"
                )
                raise NameTaken(
                    f"Two columns of the pivot would be called {name[:80]!r}, {what}: give a prefix, or another index"
                )
            taken.add(name)
        return names
