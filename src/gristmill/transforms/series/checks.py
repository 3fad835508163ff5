"""Checks of aggregates that steps name."""

from gristmill.core.errors import Violation
from gristmill.transforms.schema_rules import need, refuse
from gristmill.transforms.series.aggregates import AGGREGATES, result_of
from gristmill.transforms.spec import Column, Columns, StepRefused, Types


def need_aggregate(columns: Columns, agg: str, column: str, target: str, types: Types, member: str = "") -> Column:
    """Return the column that an aggregate makes. Raises StepRefused where it does not take the column's type.

    member: where the aggregate stands in the step, as a pointer.
    """
    source = need(columns, column, f"{member}/column")
    takes = AGGREGATES[agg].takes
    if source.type not in takes:
        reason = f"{column} is of type {source.type}: {agg} takes {', '.join(sorted(takes))}"
        raise StepRefused(Violation(f"{member}/agg", "wrong_type", reason, field=column))
    return result_of(agg, source, target, types)


def check_quantile(agg: str, q: float | None) -> None:
    """Check that a quantile is given where one is asked for, and is from 0 to 1. Raises StepRefused."""
    if (agg == "quantile") != (q is not None):
        reason = "q is missing: a number from 0 to 1" if q is None else f"{agg} takes no q: only quantile does"
        raise refuse("q", "missing" if q is None else "not_applicable", reason)
    if q is not None and not 0 <= q <= 1:
        raise refuse("q", "out_of_range", f"{q} is not from 0 to 1")
