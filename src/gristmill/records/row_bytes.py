"""How large rows are, as Postgres can tell without fetching what is stored out of line."""

import math
from collections.abc import Sequence

import sqlalchemy as sa

from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.datasets.types import TYPES


def row_bytes(contract: Contract, names: Sequence[str], table: sa.Table) -> sa.ColumnElement[int]:
    """Return about how many bytes a row's values have as text."""
    fields = [contract.column(name) for name in names]
    sizes = [TYPES[field.type].text_bytes(field, table.c[field.name]) for field in fields]
    fixed = sum(size for size in sizes if isinstance(size, int))
    total: sa.ColumnElement[int] = sa.literal_column(str(fixed), sa.BigInteger)
    for size in sizes:
        total = total if isinstance(size, int) else total + size
    return total


def most_bytes(contract: Contract, names: Sequence[str]) -> float:
    """Return about how many bytes a row's values have as text at most; infinity where the contract does not say."""
    return sum(_most(contract.column(name)) for name in names)


def _most(field: FieldSpec) -> float:
    kind = TYPES[field.type]
    size = kind.text_bytes(field, sa.null())
    if isinstance(size, int):
        return size
    return kind.entry_bytes(field) if kind.may_be_key else math.inf
