"""SQL of fitting: statistics of a column."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from gristmill.datasets.contract import Contract
from gristmill.datasets.ddl import record_table
from gristmill.datasets.parents.above import attach_above
from gristmill.datasets.where import compile_where
from gristmill.transforms.spec import Fitting, Statistic

_QUANTILES: dict[Statistic, float] = {"lower_quartile": 0.25, "median": 0.5, "upper_quartile": 0.75}

_AGGREGATES: dict[Statistic, str] = {"mean": "avg", "deviation": "stddev_pop", "minimum": "min", "maximum": "max"}


def statistics(
    connection: Connection, contract: Contract, where: Any, fittings: Sequence[Fitting]
) -> list[dict[str, float] | None]:
    """Return the statistics that each fitting asks for, None where the filter finds no value. One look at the table."""
    table = record_table(contract)
    asked: list[sa.ColumnElement[Any]] = [
        sa.cast(_sql(table.c[one.column], name), sa.Double()) for one in fittings for name in one.statistics
    ]
    labelled = [column.label(f"s{place}") for place, column in enumerate(asked)]
    condition = compile_where(where, attach_above(connection, contract, where), table)
    row = list(connection.execute(sa.select(*labelled).where(condition)).one())
    found: list[dict[str, float] | None] = []
    for one in fittings:
        values, row = row[: len(one.statistics)], row[len(one.statistics) :]
        named = dict(zip(one.statistics, values, strict=True))
        found.append(None if None in values else named)
    return found


def _sql(column: sa.ColumnElement[Any], name: Statistic) -> sa.ColumnElement[Any]:
    if name in _QUANTILES:
        return sa.func.percentile_cont(_QUANTILES[name]).within_group(sa.cast(column, sa.Double()))
    return sa.Function(_AGGREGATES[name], column)
