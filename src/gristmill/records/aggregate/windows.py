"""Rolling windows, as SQL: (t - w, t], with ties in the order of the rows.

Postgres' RANGE takes all rows of one time together. Where several rows of a group may have one time, the window
follows a number instead, which is made of the time and of the place among the rows of that time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from gristmill.records.aggregate.bucket_sql import interval_sql
from gristmill.records.aggregate.measures import extreme_sql, places_of
from gristmill.records.aggregate.numbers import quotient
from gristmill.records.aggregate.plan import RollingStep
from gristmill.records.aggregate.relation import Column, Relation

# Places among the rows of one time are smaller than this.
_PLACES = 2**32


def rolled(relation: Relation, step: RollingStep, label: str) -> Relation:
    """Return the rows with one more column, ``label``."""
    by = [relation.column(name).label for name in step.by]
    source = relation.column(step.source.name).label
    if step.rows is not None:
        frame = f"ROWS BETWEEN {step.rows - 1} PRECEDING AND CURRENT ROW"
        return _with_column(relation, step, label, source, Window(by, relation.sequence, frame), "")
    assert step.microseconds is not None
    assert relation.time is not None
    time = relation.time
    # A row without a time has no window, and is in none.
    by = [*by, f"({time} IS NULL)"]
    alone = relation.unique is not None and relation.unique <= {*by, time}
    if alone:
        # Moments are whole microseconds: the window begins one after t - w.
        length = interval_sql(step.microseconds - 1)
        frame = f"RANGE BETWEEN {length} PRECEDING AND CURRENT ROW"
        return _with_column(relation, step, label, source, Window(by, [time], frame), time)
    rest = [one for one in relation.sequence if one != time]
    place = f"row_number() OVER ({_clause([*by, time], rest)})"
    number = f"(extract(epoch FROM {time}) * 1000000 * {2 * _PLACES} + {place})::numeric"
    placed = relation.then(f"SELECT {', '.join(relation.labels)}, {number} AS o FROM {relation.name}")
    length = str(step.microseconds * 2 * _PLACES - _PLACES)
    frame = f"RANGE BETWEEN {length}::numeric PRECEDING AND CURRENT ROW"
    return _with_column(placed, step, label, source, Window(by, ["o"], frame), time)


@dataclass(frozen=True, slots=True)
class Window:
    """Rows with the same values of ``by``, in the order of the labels ``order``, and those of them in ``frame``."""

    by: Sequence[str]
    order: Sequence[str]
    frame: str

    def __str__(self) -> str:
        return f"{_clause(self.by, self.order)} {self.frame}"


def _clause(by: Sequence[str], order: Sequence[str], down: bool = False) -> str:
    partition = f"PARTITION BY {', '.join(by)}" if by else ""
    terms = ", ".join(f"{label} DESC" if down else label for label in order)
    return f"{partition} ORDER BY {terms}" if terms else partition


def _with_column(relation: Relation, step: RollingStep, label: str, source: str, window: Window, time: str) -> Relation:
    if step.agg in ("first", "last"):
        relation, value = _picked(relation, step.agg, source, window)
    else:
        value = _over(step, source)
    conditions = [f"{time} IS NOT NULL"] if time else []
    if step.min_periods > 1 or step.agg == "count":
        conditions.append(f"count({source}) OVER w >= {step.min_periods}")
    if conditions:
        value = f"CASE WHEN {' AND '.join(conditions)} THEN {value} END"
    select = f"SELECT {', '.join(relation.labels)}, {value} AS {label} FROM {relation.name} WINDOW w AS ({window})"
    return relation.then(select, [*relation.columns, Column(step.result, label)])


def _over(step: RollingStep, column: str) -> str:
    """Return what is computed over the window ``w``."""
    kind, total, count = step.source.type, f"sum({column}) OVER w", f"count({column}) OVER w"
    match step.agg:
        case "count":
            return count
        case "sum":
            return f"({total})::bigint" if kind in ("integer", "duration") else total
        case "mean" if kind == "float":
            return f"avg({column}) OVER w"
        case "mean" if kind == "integer":
            return f"(avg({column}) OVER w)::double precision"
        case "mean":
            exact = quotient(total, count, places_of(step.source))
            # Nothing is divided by no values.
            guarded = f"CASE WHEN {count} > 0 THEN {exact} END"
            return f"({guarded})::bigint" if kind == "duration" else guarded
        case "stddev":
            return f"(stddev_samp({column}) OVER w)::double precision"
        case _:
            return _extreme_over(step, column)


def _picked(relation: Relation, agg: str, column: str, window: Window) -> tuple[Relation, str]:
    """Return the rows, and what is the first or last value that is not null of their windows.

    Each row gets the value and the number of the row that has the next value (of itself or behind it) or the last one
    (of itself or before it); whether that row is within the window its number says.
    """
    down = agg == "first"
    order = [*window.order]
    labels = [*relation.labels, *(label for label in order if label not in relation.labels)]
    counted = f"count({column}) OVER ({_clause(window.by, order, down)} ROWS UNBOUNDED PRECEDING) AS vc"
    number = f"row_number() OVER ({_clause(window.by, order)}) AS vn"
    relation = relation.then(f"SELECT {', '.join(labels)}, {number}, {counted} FROM {relation.name}")
    # A row with a value begins a run of rows that have none.
    run = f"OVER ({_clause([*window.by, 'vc'], order, down)})"
    runs = f"first_value({column}) {run} AS vv, first_value(vn) {run} AS vp"
    relation = relation.then(f"SELECT {', '.join(labels)}, vn, {runs} FROM {relation.name}")
    if agg == "first":
        return relation, "CASE WHEN first_value(vp) OVER w <= vn THEN first_value(vv) OVER w END"
    return relation, "CASE WHEN vp >= first_value(vn) OVER w THEN vv END"


def _extreme_over(step: RollingStep, column: str) -> str:
    made = extreme_sql(step.source.type, step.agg, column)
    call, cast, kind = made.partition("::uuid") if made.endswith("::uuid") else (made, "", "")
    return f"({call} OVER w){cast}{kind}"
