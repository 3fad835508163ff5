"""Comparisons of text in filters: what it contains, with or without regard to case, and what it starts with."""

from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

# Full case folding of Unicode, whatever the locale of the database: ß and SS are one, É and é are one.
_FOLDING = "pg_unicode_fast"

Condition = sa.ColumnElement[bool]


def text_condition(operator: str, text: sa.ColumnElement[str], value: str) -> Condition:
    """Return the SQL of one of TEXT_OPERATORS. text: of the collation C."""
    if operator == "icontains":
        folded = [sa.func.casefold(sa.collate(part, _FOLDING)) for part in (text, sa.literal(value, sa.Text()))]
        return sa.func.strpos(*folded) > 0
    pattern = value.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_") + "%"
    return text.like(sa.literal("%" + pattern if operator == "contains" else pattern, sa.Text()))


def text_test(operator: str, value: str) -> Callable[[str], bool]:
    """Return the same comparison for a text in memory."""
    if operator == "icontains":
        folded = value.casefold()
        return lambda text: folded in text.casefold()
    return (lambda text: value in text) if operator == "contains" else (lambda text: text.startswith(value))


def text_column_test(operator: str, column: pa.ChunkedArray, value: str) -> Any:
    """Return the same comparison for a column of texts; null stays null."""
    if operator == "icontains":
        test = text_test(operator, value)
        return pa.array([None if text is None else test(text) for text in column.to_pylist()], pa.bool_())
    compare = pc.match_substring if operator == "contains" else pc.starts_with
    return compare(column, value)
