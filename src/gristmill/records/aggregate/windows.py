"""Rolling windows, as SQL: (t - w, t], with ties in the order of the rows.

Postgres' RANGE takes all rows of one time together. Where several rows of a group may have one time, the window
follows a number instead, which is made of the time and of the place among the rows of that time.
"""

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
        order = f"ORDER BY {', '.join(relation.sequence)}" if relation.sequence else ""
        frame = f"{_partition(by)} {order} ROWS BETWEEN {step.rows - 1} PRECEDING AND CURRENT ROW"
        return _with_column(relation, step, label, source, frame, "")
    assert step.microseconds is not None
    assert relation.time is not None
    time = relation.time
    # A row without a time has no window, and is in none.
    by = [*by, f"({time} IS NULL)"]
    alone = relation.unique is not None and relation.unique <= {*by, time}
    if alone:
        # Moments are whole microseconds: the window begins one after t - w.
        length = interval_sql(step.microseconds - 1)
        frame = f"{_partition(by)} ORDER BY {time} RANGE BETWEEN {length} PRECEDING AND CURRENT ROW"
        return _with_column(relation, step, label, source, frame, time)
    rest = [one for one in relation.sequence if one != time]
    place = f"row_number() OVER ({_partition([*by, time])}{' ORDER BY ' + ', '.join(rest) if rest else ''})"
    number = f"(extract(epoch FROM {time}) * 1000000 * {2 * _PLACES} + {place})::numeric"
    placed = relation.then(f"SELECT {', '.join(relation.labels)}, {number} AS o FROM {relation.name}")
    length = str(step.microseconds * 2 * _PLACES - _PLACES)
    frame = f"{_partition(by)} ORDER BY o RANGE BETWEEN {length}::numeric PRECEDING AND CURRENT ROW"
    return _with_column(placed, step, label, source, frame, time)


def _partition(labels: list[str]) -> str:
    return f"PARTITION BY {', '.join(labels)}" if labels else ""


def _with_column(relation: Relation, step: RollingStep, label: str, source: str, frame: str, time: str) -> Relation:
    value = _over(step, source)
    conditions = [f"{time} IS NOT NULL"] if time else []
    if step.min_periods > 1 or step.agg == "count":
        conditions.append(f"count({source}) OVER w >= {step.min_periods}")
    if conditions:
        value = f"CASE WHEN {' AND '.join(conditions)} THEN {value} END"
    select = f"SELECT {', '.join(relation.labels)}, {value} AS {label} FROM {relation.name} WINDOW w AS ({frame})"
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
        case "first":
            return f"(array_agg({column}) FILTER (WHERE {column} IS NOT NULL) OVER w)[1]"
        case "last":
            found = f"array_agg({column}) FILTER (WHERE {column} IS NOT NULL) OVER w"
            return f"({found})[array_length({found}, 1)]"
        case _:
            return _extreme_over(step, column)


def _extreme_over(step: RollingStep, column: str) -> str:
    made = extreme_sql(step.source.type, step.agg, column)
    call, cast, kind = made.partition("::uuid") if made.endswith("::uuid") else (made, "", "")
    return f"({call} OVER w){cast}{kind}"
