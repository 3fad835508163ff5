"""The first step of a statement: which columns of which records are read."""

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from gristmill.datasets.contract import SUBMISSION_COLUMNS, Contract, FieldSpec
from gristmill.datasets.where import compile_where
from gristmill.records.aggregate.plan import Plan


@dataclass(frozen=True, slots=True)
class Base:
    """select: the records. labels: of what is read, by the names of fields. time: the label of the time, None without.

    sequence: labels of time and key, in whose order records follow one another.
    """

    select: sa.Select[Any]
    labels: dict[str, str]
    time: str | None
    sequence: tuple[str, ...]


def base_of(plan: Plan, table: sa.FromClause) -> Base:
    """Return the records that a plan reads. table: that of the dataset, or what has the same columns."""
    contract = plan.contract
    names = dict.fromkeys(field.name for field in (*(plan.fields or ()), *plan.by))
    names |= dict.fromkeys(one.field.name for one in plan.measures if one.field is not None)
    # The order of records: by time, then by key; without a key by submission.
    parts: dict[str, None] = {} if plan.time is None else {plan.time.name: None}
    if plan.fields is not None or any(one.ranked == "time" for one in plan.measures):
        parts |= dict.fromkeys(part.name for part in order_fields(contract))
    labels = {name: f"v{index}" for index, name in enumerate(names | parts)}
    columns = [table.c[name].label(label) for name, label in labels.items()]
    if not columns:
        columns.append(sa.literal_column("1").label("v0"))
    time = None if plan.time is None else labels[plan.time.name]
    select = sa.select(*columns).where(*conditions_of(plan, table))
    return Base(select, labels, time, tuple(labels[name] for name in parts))


def order_fields(contract: Contract) -> tuple[FieldSpec, ...]:
    return contract.key_fields or SUBMISSION_COLUMNS


def conditions_of(plan: Plan, table: sa.FromClause) -> list[sa.ColumnElement[bool]]:
    """Return what records must fulfil: the window, the filter, and to have a time where there are buckets."""
    conditions: list[sa.ColumnElement[bool]] = []
    if plan.time is not None:
        time = table.c[plan.time.name]
        if plan.start is not None:
            conditions.append(time >= plan.start)
        if plan.end is not None:
            conditions.append(time <= plan.end)
        if plan.buckets is not None and not plan.time.required:
            conditions.append(time.is_not(None))
    if plan.where is not None:
        conditions.append(compile_where(plan.where, plan.contract, table))
    return conditions


def bounds_of(plan: Plan, table: sa.FromClause, filtered: bool) -> sa.Select[Any]:
    """Return the query of the first and the last time; of all records where they are not ``filtered``."""
    assert plan.time is not None
    time = table.c[plan.time.name]
    select = sa.select(sa.func.min(time), sa.func.max(time))
    return select.where(*conditions_of(plan, table)) if filtered else select


def nothing(table: sa.Table) -> sa.FromClause:
    """Return a relation with the columns of ``table`` and no rows: a dataset whose table is not there yet."""
    columns = [sa.cast(sa.null(), column.type).label(column.name) for column in table.c]
    return sa.select(*columns).where(sa.false()).subquery()
