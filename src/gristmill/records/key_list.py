"""Many keys in one statement: a list of canonical keys as rows that a table is joined with."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY

from gristmill.datasets.contract import Contract
from gristmill.datasets.types import TYPES

Key = tuple[Any, ...]


def listed_keys(
    contract: Contract, table: sa.Table, keys: Sequence[Key]
) -> tuple[sa.TableValuedAlias, sa.ColumnElement[bool]]:
    """Return the keys as rows with their ``place``, from 1, and the condition that a row of ``table`` has one."""
    lists = [
        sa.cast([TYPES[field.type].parameter(key[place]) for key in keys], ARRAY(table.c[field.name].type))
        for place, field in enumerate(contract.key_fields)
    ]
    names = [f"k{place}" for place in range(len(contract.key))]
    rows = sa.func.unnest(*lists).table_valued(*names, with_ordinality="place").render_derived(name="listed")
    same = [table.c[key] == rows.c[name] for key, name in zip(contract.key, names, strict=True)]
    return rows, sa.and_(*same)
