"""Pivot and melt, as SQL."""

from collections.abc import Sequence

from gristmill.datasets.contract import FieldSpec
from gristmill.records.aggregate.measures import extreme_sql, places_of, sum_sql
from gristmill.records.aggregate.numbers import quotient
from gristmill.records.aggregate.relation import Column, Relation
from gristmill.records.aggregate.reshaping import index_of, melted_columns, pivoted
from gristmill.records.aggregate.schemas import Melt, Pivot


def pivoted_rows(relation: Relation, pivot: Pivot, names: Sequence[str]) -> Relation:
    """Return one row for each index. names: of the new columns, in the order of the values that they stand for.

    Values are numbered in their order, as null is a value too.
    """
    index = [relation.column(name) for name in index_of(pivot, [column.field for column in relation.columns])]
    source, key = relation.column(pivot.column), relation.column(pivot.columns)
    keys = [column.label for column in index]
    numbered = [*keys, f"{source.label} AS x", f"dense_rank() OVER (ORDER BY {key.label}) AS d"]
    place = ""
    if pivot.agg in ("first", "last"):
        down = " DESC" if pivot.agg == "last" else ""
        window = ", ".join([*keys, key.label, f"({source.label} IS NULL)"])
        order = ", ".join(label + down for label in relation.sequence)
        place = f"row_number() OVER (PARTITION BY {window}{' ORDER BY ' + order if order else ''}) AS p"
    chosen = ", ".join([*numbered, *([place] if place else [])])
    ranked = relation.then(f"SELECT {chosen} FROM {relation.name}")
    made = pivoted(pivot, source.field)
    cells = [f"{_cell(pivot, source.field, number)} AS z{number}" for number in range(1, len(names) + 1)]
    by = f" GROUP BY {', '.join(keys)}" if keys else ""
    columns = [*index]
    for number, name in enumerate(names, 1):
        columns.append(Column(made.model_copy(update={"name": name}), f"z{number}"))
    selected = ", ".join([*keys, *cells]) or "1 AS u"
    # Without an index there is one row, and none of no rows.
    some = "" if keys else " HAVING count(*) > 0"
    found = ranked.then(f"SELECT {selected} FROM {ranked.name}{by}{some}", columns)
    order_ = tuple((key, False) for key in keys)
    time = relation.time if relation.time in keys else None
    return Relation(found.steps, found.columns, time, tuple(keys), order_, frozenset(keys))


def _cell(pivot: Pivot, source: FieldSpec, number: int) -> str:
    rows = f" FILTER (WHERE d = {number})"
    match pivot.agg:
        case None:
            # One row at most: any function of it would do, and this one is there for every type.
            return f"(array_agg(x){rows})[1]"
        case "first" | "last":
            return f"(array_agg(x) FILTER (WHERE d = {number} AND p = 1 AND x IS NOT NULL))[1]"
        case "count":
            return f"count(x){rows}"
        case "sum":
            return sum_sql(source.type, f"sum(x){rows}")
        case "mean" if source.type in ("float", "integer"):
            return f"(avg(x){rows})::double precision"
        case "mean":
            total, count = f"(sum(x){rows})", f"(count(x){rows})"
            mean = f"CASE WHEN {count} > 0 THEN {quotient(total, count, places_of(source))} END"
            return f"({mean})::bigint" if source.type == "duration" else mean
        case _:
            made = extreme_sql(source.type, pivot.agg, "x")
            call, _, cast = made.rpartition("::") if made.endswith("::uuid") else (made, "", "")
            return f"({call}{rows})::{cast}" if cast else f"({call}{rows})"


def melted_rows(relation: Relation, melt: Melt) -> Relation:
    """Return a row for each column that is melted, in the order of the rows and then of the columns."""
    fields = [column.field for column in relation.columns]
    kept, melted = melted_columns(melt, fields)
    index = [relation.column(field.name) for field in kept]
    listed = ", ".join(
        f"({place}, {_quoted(field.name)}, {relation.column(field.name).label})" for place, field in enumerate(melted)
    )
    carried = dict.fromkeys([*(column.label for column in index), *(label for label, _ in relation.order)])
    carried |= dict.fromkeys(relation.sequence)
    shown = ", ".join([*(f"q.{label}" for label in carried), "y.pos", "y.var", "y.val"])
    source = f"{relation.name} AS q CROSS JOIN LATERAL (VALUES {listed}) AS y(pos, var, val)"
    variable = FieldSpec(name=melt.variable, type="text", required=True)
    value = melted[0].model_copy(update={"name": melt.value, "required": all(field.required for field in melted)})
    columns = [*index, Column(variable, "var"), Column(value, "val", edge=relation.column(melted[0].name).edge)]
    found = relation.then(f"SELECT {shown} FROM {source}", columns)
    order = (*relation.order, ("pos", False))
    return Relation(found.steps, found.columns, relation.time, (*relation.sequence, "pos"), order, None)


def _quoted(text: str) -> str:
    """Return a text as SQL."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"E'{escaped}'::text"
