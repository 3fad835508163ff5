"""Columns of texts, read as a type: what is written in the format that users named becomes values."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from gristmill.transforms.formats.blanks import trim
from gristmill.transforms.formats.moments import Format
from gristmill.transforms.formats.numbers import to_plain
from gristmill.transforms.spec import Column, RowMistake, Types

NUMBERS = ("integer", "float", "decimal")
MOMENTS = ("date", "timestamp")
TRUE, FALSE = ("true",), ("false",)

Read = Callable[[pa.Array], tuple[pa.Array, list[RowMistake]]]


@dataclass(frozen=True, slots=True)
class Writing:
    """How values are written; see the parameters of the step ``cast``."""

    decimal: str = "."
    thousands: str | None = None
    format: str | None = None
    zone: str | None = None
    true: Sequence[str] = TRUE
    false: Sequence[str] = FALSE
    nulls: Sequence[str] = ()


def build_reader(target: Column, writing: Writing, types: Types) -> Read:
    """Return what reads a column of texts as values of ``target``, and says which are none. Blanks around a text are
    none of it. Raises ValueError for a format that is none."""
    nulls = trim(pa.array(writing.nulls, pa.string()))
    to_known, expected = _to_known(target, writing)

    def read(texts: pa.Array) -> tuple[pa.Array, list[RowMistake]]:
        written = trim(texts)
        if len(nulls):
            written = pc.if_else(pc.is_in(written, value_set=nulls), pa.scalar(None, pa.string()), written)
        known = to_known(written)
        values, mistakes = types.read_texts(target, known, writing.zone)
        lost = np.flatnonzero(pc.and_(known.is_null(), written.is_valid()).to_numpy(zero_copy_only=False))
        found = [RowMistake(row, "bad_value", f"{_short(texts, row)} is not {expected}") for row in lost.tolist()]
        for row, code, reason in mistakes:
            shown = reason if known[row].equals(texts[row]) else f"{_short(texts, row)}: {reason}"
            found.append(RowMistake(row, code, shown))
        return values, sorted(found)

    return read


def _to_known(target: Column, writing: Writing) -> tuple[Callable[[pa.Array], pa.Array], str]:
    """Return what makes texts that the type reads of others, null where it cannot, and what these should be."""
    if target.type in NUMBERS:
        marks = "" if writing.decimal == "." else f" with the decimal mark {writing.decimal!r}"
        if writing.thousands is not None:
            marks += f"{' and' if marks else ' with'} the thousands mark {writing.thousands!r}"
        return lambda texts: to_plain(texts, writing.decimal, writing.thousands), f"a number{marks}"
    if target.type in MOMENTS and writing.format is not None:
        format_ = Format(writing.format)
        return (
            lambda texts: format_.to_iso(texts, target.type == "timestamp"),
            f"a {target.type} in the format {writing.format}",
        )
    if target.type == "boolean":
        words = [*writing.true, *writing.false]
        names = pc.utf8_lower(trim(pa.array(words)))
        truths = pa.array(["true"] * len(writing.true) + ["false"] * len(writing.false))
        return lambda texts: truths.take(
            pc.index_in(pc.utf8_lower(texts), value_set=names)
        ), f"one of {', '.join(words)}"
    return lambda texts: texts, f"a value of type {target.type}"


def _short(texts: pa.Array, row: int) -> str:
    return repr(texts[row].as_py()[:80])
