"""The patterns and tables by which the readers of CSV split rows, made once for each dialect."""

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gristmill.records.readers.dialect import DEFAULT, CsvDialect

Table = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class CsvSyntax:
    """How rows of one dialect are split.

    cell: matches a cell and what ends it. open: matches whole cells and then one whose quote is open at the end.
    may_open, may_close: for each byte, whether it may stand before a quote that opens a cell, and after one that closes
    it; a doubled quote closes and opens. nulls: texts that are null in a cell without quotes,
    for Arrow.
    """

    dialect: CsvDialect
    delimiter: str
    quote: str
    quote_byte: bytes
    cell: re.Pattern[str]
    open: re.Pattern[bytes]
    may_open: Table
    may_close: Table
    nulls: tuple[str, ...]


@lru_cache(maxsize=64)
def syntax_of(dialect: CsvDialect) -> CsvSyntax:
    """Return the syntax of a dialect."""
    sign, mark = re.escape(dialect.delimiter), re.escape(dialect.quote)
    quoted = f"{mark}[^{mark}]*+(?:{mark}{mark}[^{mark}]*+)*+"
    plain = f"[^{mark}{sign}]*"
    return CsvSyntax(
        dialect,
        dialect.delimiter,
        dialect.quote,
        dialect.quote.encode(),
        re.compile(f"(?:{mark}((?:[^{mark}]|{mark}{mark})*){mark}|({plain}))({sign}|$)", re.DOTALL),
        re.compile(f"(?:(?:{quoted}{mark}|{plain}+){sign})*+{quoted}".encode(), re.DOTALL),
        _table("\n", dialect.delimiter, dialect.quote),
        _table("\r", "\n", dialect.delimiter, dialect.quote),
        ("",) if dialect.null is None else ("", dialect.null),
    )


def _table(*characters: str) -> Table:
    table = np.zeros(256, np.bool_)
    table[[ord(one) for one in characters]] = True
    return table


PLAIN = syntax_of(DEFAULT)
