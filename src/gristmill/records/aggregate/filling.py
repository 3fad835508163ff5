"""Empty buckets, and what they get: the whole window for each group, as SQL."""

from dataclasses import replace

from gristmill.records.aggregate.bucket_sql import BucketSql
from gristmill.records.aggregate.groups import BUCKET
from gristmill.records.aggregate.measures import COUNTS, places_of
from gristmill.records.aggregate.numbers import quotient
from gristmill.records.aggregate.plan import Plan
from gristmill.records.aggregate.relation import Relation


def filled(plan: Plan, relation: Relation, buckets: BucketSql, low: int, high: int) -> Relation:
    """Return the rows of all buckets from that of ``low`` to that of ``high``, in each group that has records.

    Groups are numbered, as null is a group too and would be equal to nothing.
    """
    groups = [f"g{index}" for index in range(len(plan.by))]
    measures = [f"m{index}" for index in range(len(plan.measures))]
    number = f"dense_rank() OVER (ORDER BY {', '.join(groups)})" if groups else "1"
    # Read twice: worked out once.
    numbered = f"SELECT *, {number} AS gid FROM {relation.name}"
    name = f"r{len(relation.steps)}"
    found = replace(relation, steps=(*relation.steps, f"{name} AS MATERIALIZED ({numbered})"))
    all_groups = f"SELECT DISTINCT {', '.join([*groups, 'gid'])} FROM {name}" if groups else "SELECT 1 AS gid"
    shown = [f"d.{group}" for group in groups]
    for label, one in zip(measures, plan.measures, strict=True):
        # Of no records there are none.
        shown.append(f"coalesce(f.{label}, 0) AS {label}" if one.agg in COUNTS else f"f.{label}")
    spine = f"({buckets.all_starts(low, high)}) AS s CROSS JOIN ({all_groups}) AS d"
    selected = ", ".join([f"s.{BUCKET}", "d.gid", *shown])
    joined = f"SELECT {selected} FROM {spine} LEFT JOIN {name} AS f ON f.{BUCKET} = s.{BUCKET} AND f.gid = d.gid"
    found = found.then(joined)
    if plan.fill in ("previous", "linear", "value"):
        found = _valued(plan, found, groups, measures)
    return found


def _valued(plan: Plan, relation: Relation, groups: list[str], measures: list[str]) -> Relation:
    """Return the rows with the values that are filled in."""
    gaps = [index for index, one in enumerate(plan.measures) if one.agg not in COUNTS]
    window = f"PARTITION BY gid ORDER BY {BUCKET}"
    if plan.fill in ("previous", "linear"):
        # All buckets from one with a value to before the next have one number.
        counted = [f"count(m{index}) OVER ({window} ROWS UNBOUNDED PRECEDING) AS p{index}" for index in gaps]
        if plan.fill == "linear":
            counted += [f"count(m{index}) OVER ({window} DESC ROWS UNBOUNDED PRECEDING) AS q{index}" for index in gaps]
        relation = relation.then(f"SELECT *{''.join(', ' + one for one in counted)} FROM {relation.name}")
    shown = [BUCKET, *groups]
    for index, (label, one) in enumerate(zip(measures, plan.measures, strict=True)):
        if index not in gaps:
            shown.append(label)
        elif plan.fill == "value":
            shown.append(f"coalesce({label}, {plan.values[one.result.name]}) AS {label}")
        else:
            before = f"first_value({{}}) OVER (PARTITION BY gid, p{index} ORDER BY {BUCKET})"
            if plan.fill == "previous":
                shown.append(f"{before.format(label)} AS {label}")
                continue
            behind = f"first_value({{}}) OVER (PARTITION BY gid, q{index} ORDER BY {BUCKET} DESC)"
            shown.append(
                f"CASE WHEN {label} IS NOT NULL THEN {label} WHEN p{index} > 0 AND q{index} > 0 THEN"
                f" {_between(plan, index, label, before, behind)} END AS {label}"
            )
    return relation.then(f"SELECT {', '.join(shown)} FROM {relation.name}")


def _between(plan: Plan, index: int, label: str, before: str, behind: str) -> str:
    """Return the value on the straight line between two buckets, by the times at which they begin."""
    low, high = before.format(label), behind.format(label)
    done = f"extract(epoch FROM {BUCKET} - {before.format(BUCKET)})"
    whole = f"extract(epoch FROM {behind.format(BUCKET)} - {before.format(BUCKET)})"
    one = plan.measures[index]
    if one.result.type == "float":
        return f"{low} + ({high} - {low}) * ({done} / {whole})::double precision"
    source = one.field or one.result
    return quotient(f"({low} * {whole} + ({high} - {low}) * {done})", whole, places_of(source))
