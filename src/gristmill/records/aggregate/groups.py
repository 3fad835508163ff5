"""Groups and their measures, as SQL."""

from gristmill.records.aggregate.base import Base, order_fields
from gristmill.records.aggregate.bucket_sql import BucketSql
from gristmill.records.aggregate.measures import measure_sql
from gristmill.records.aggregate.plan import END, START, Plan
from gristmill.records.aggregate.relation import Column, Relation

BUCKET = "b"


def grouped(plan: Plan, base: Base, rendered: str, buckets: BucketSql | None) -> Relation:
    """Return the rows of groups. rendered: the query of ``base`` as text.

    Its columns are the beginning of the bucket ``b``, unless it is None, then fields and measures; ``finished`` adds
    where buckets end.
    """
    steps = [f"r0 AS ({rendered})"]
    keys = [f"g{index}" for index in range(len(plan.by))]
    chosen = [f"{base.labels[field.name]} AS {key}" for field, key in zip(plan.by, keys, strict=True)]
    if buckets is not None and base.time is not None:
        chosen.insert(0, f"{buckets.start(base.time)} AS {BUCKET}")
        keys.insert(0, BUCKET)
    steps.append(f"r1 AS (SELECT *{''.join(', ' + one for one in chosen)}{_ranks(plan, base, chosen)} FROM r0)")
    measures = []
    for index, one in enumerate(plan.measures):
        column = "" if one.field is None else base.labels[one.field.name]
        measures.append(f"{measure_sql(one, column, f'n{index}', f'a{index}')} AS m{index}")
    selected = ", ".join([*keys, *measures]) or "1"
    by = f" GROUP BY {', '.join(keys)}" if keys else ""
    steps.append(f"r2 AS (SELECT {selected} FROM r1{by})")
    columns = [Column(field, f"g{index}") for index, field in enumerate(plan.by)]
    columns += [Column(one.result, f"m{index}") for index, one in enumerate(plan.measures)]
    order = tuple((key, False) for key in keys)
    time = BUCKET if buckets is not None else None
    return Relation(tuple(steps), tuple(columns), time, tuple(keys), order, frozenset(keys))


def _ranks(plan: Plan, base: Base, chosen: list[str]) -> str:
    """Return the numbers of records within their groups, for measures that pick one of them."""
    found = ""
    groups = [one.rpartition(" AS ")[0] for one in chosen]
    for index, one in enumerate(plan.measures):
        if one.ranked is None or one.field is None:
            continue
        value = base.labels[one.field.name]
        if one.ranked == "value":
            window = ", ".join([*groups, f"{value} IS NULL"])
            found += f", row_number() OVER (PARTITION BY {window} ORDER BY {value}) AS n{index}"
            counted = f" PARTITION BY {', '.join(groups)}" if groups else ""
            found += f", count({value}) OVER ({counted.strip()}) AS a{index}"
            continue
        # Records without a value, or without a time, are neither the first nor the last.
        missing = f"{value} IS NULL" + (f" OR {base.time} IS NULL" if base.time else "")
        window = ", ".join([*groups, f"({missing})"])
        down = " DESC" if one.agg == "last" else ""
        order = ", ".join(label + down for label in base.sequence)
        number = f"row_number() OVER (PARTITION BY {window} ORDER BY {order})"
        found += f", CASE WHEN {missing} THEN NULL ELSE {number} END AS n{index}"
    return found


def finished(plan: Plan, relation: Relation, buckets: BucketSql | None) -> Relation:
    """Return the rows with the beginning and the end of their buckets as columns."""
    if buckets is None or plan.time is None:
        return relation
    others = "".join(f", {column.label}" for column in relation.columns)
    select = f"SELECT {buckets.clipped_start(BUCKET)} AS s0, {buckets.end(BUCKET)} AS s1{others} FROM {relation.name}"
    edges = [
        Column(plan.time.model_copy(update={"name": name, "required": True}), label, edge=True)
        for name, label in ((START, "s0"), (END, "s1"))
    ]
    moved = relation.then(select, [*edges, *relation.columns])
    labels = ["s0" if label == BUCKET else label for label in relation.sequence]
    order = tuple((label, False) for label in labels)
    return Relation(moved.steps, moved.columns, "s0", tuple(labels), order, frozenset(labels))


def records(plan: Plan, base: Base, rendered: str) -> Relation:
    """Return the rows of the records themselves."""
    columns = tuple(Column(field, base.labels[field.name]) for field in plan.fields or ())
    order = tuple((label, False) for label in base.sequence)
    unique = frozenset(base.labels[part.name] for part in order_fields(plan.contract))
    return Relation((f"r0 AS ({rendered})",), columns, base.time, base.sequence, order, unique)
