"""Numbers as a CSV dialect writes them, with a decimal comma or digits in groups, and as the contract takes them."""

import re
from functools import lru_cache

import pyarrow as pa
import pyarrow.compute as pc

from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.types import TYPES
from gristmill.records.readers.context import ReadContext
from gristmill.records.readers.dialect import CsvDialect

# No number: a cell that is not written as the dialect says.
_WRONG = "?"


def is_number(field: FieldSpec) -> bool:
    """Say whether the dialect of numbers applies to the cells of a field."""
    return TYPES[field.type].cell_is_number


def to_plain(text: str, decimal: str, thousands: str | None) -> str | None:
    """Return a number with a decimal point and without groups; None where it is not written as it should be.

    Groups have three digits. What has neither the sign of decimals nor that of groups is returned as it is, whether it
    is a number or not.
    """
    if thousands is not None and thousands in text:
        if not re.fullmatch(_grouped(decimal, thousands), text):
            return None
        text = text.replace(thousands, "")
    elif decimal != "." and "." in text:
        return None
    return text if decimal == "." else text.replace(decimal, ".")


def from_plain(text: str, dialect: CsvDialect) -> str:
    """Return a number with a decimal point as the dialect writes it, without groups."""
    return text.replace(".", dialect.decimal)


def plain_columns(source: ReadContext, table: pa.Table) -> pa.Table:
    """Return columns of cells with the numbers as the contract takes them; the others are cells that are no numbers."""
    dialect = source.dialect
    if dialect.has_plain_numbers:
        return table
    for index, name in enumerate(table.column_names):
        field = source.validator.fields.get(name)
        if field is not None and is_number(field):
            table = table.set_column(index, name, _plain(table.column(name), dialect.decimal, dialect.thousands))
    return table


def _plain(column: pa.ChunkedArray, decimal: str, thousands: str | None) -> pa.ChunkedArray:
    """Do what ``to_plain`` does for a column."""
    plain, good = column, None
    if thousands is not None:
        ungrouped = pc.invert(pc.match_substring(column, thousands))
        good = pc.or_(ungrouped, pc.match_substring_regex(column, f"^{_grouped(decimal, thousands)}$"))
        plain = pc.replace_substring(plain, thousands, "")
    if decimal != ".":
        if thousands != ".":
            pointed = pc.match_substring(plain, ".")
            good = pc.invert(pointed) if good is None else pc.and_not(good, pointed)
        plain = pc.replace_substring(plain, decimal, ".")
    return pc.if_else(good, plain, _WRONG)


@lru_cache(maxsize=64)
def _grouped(decimal: str, thousands: str) -> str:
    return f"[+-]?[0-9]{{1,3}}(?:{re.escape(thousands)}[0-9]{{3}})+(?:{re.escape(decimal)}[0-9]*)?"
