"""A typed tree over a table: whole columns, and where a row has no value, only that row is left out."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from gristmill.core.errors import Invalid, Violation
from gristmill.transforms.expression.tree import ARROW, Node, NoValue, Rows, TooMany
from gristmill.transforms.run import column_of, whole
from gristmill.transforms.spec import Failure, StepContext

if TYPE_CHECKING:
    import pandas as pd

# Most bytes of all values of a batch: text can grow with each function.
MAX_BATCH_BYTES = 128 * 1024 * 1024
# Rows that are computed at a time.
SLICE_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class RowError:
    """A row without a value. row: its place in the table."""

    row: int
    code: str
    reason: str


def evaluate_frame(
    node: Node, frame: "pd.DataFrame", context: StepContext, text: str, field: str
) -> tuple[pa.ChunkedArray, list[Failure]]:
    """Return the value of each row of a step's frame, and the failures of those that have none.

    text: the expression, for reasons. field: what is to blame.
    """
    columns = {name: column_of(frame, name) for name in sorted(node.columns)}
    values, errors = evaluate(node, columns, len(frame), context.check)
    return values, [Failure(one.row, one.code, f"{text[:60]}: {one.reason}", field) for one in errors]


def evaluate(
    node: Node, columns: Mapping[str, pa.ChunkedArray], count: int, check: Callable[[], None] = lambda: None
) -> tuple[pa.ChunkedArray, list[RowError]]:
    """Return the value of each of ``count`` rows, null for those that have none; and what is wrong with these.

    columns: at least those that the tree reads. check: called now and then. Raises Invalid where all values together
    are too large.
    """
    rows = Rows({name: whole(columns[name]) for name in node.columns}, count)
    errors: list[RowError] = []
    parts: list[pa.Array] = []
    size = 0
    for first in range(0, count, SLICE_ROWS):
        made = _evaluate(node, rows.slice(first, min(SLICE_ROWS, count - first)), first, errors, check)
        size += sum(part.nbytes for part in made)
        if size > MAX_BATCH_BYTES:
            reason = f"{node.source[:60]}: the values of {first} records take more than {MAX_BATCH_BYTES} bytes"
            raise Invalid(reason, [Violation("", "too_large", reason)])
        parts += made
    return pa.chunked_array(parts, ARROW[node.type]), errors


def _evaluate(node: Node, rows: Rows, first: int, errors: list[RowError], check: Callable[[], None]) -> list[pa.Array]:
    check()
    try:
        return [node.run(rows)]
    except TooMany:
        # A single row is never too many.
        assert rows.count > 1
    except NoValue as error:
        if rows.count == 1:
            errors.append(RowError(first, error.code, error.reason))
            return [pa.nulls(1, ARROW[node.type])]
    # Halved until the rows are found: a few bad ones among many cost little.
    half = rows.count // 2
    return [
        *_evaluate(node, rows.slice(0, half), first, errors, check),
        *_evaluate(node, rows.slice(half, rows.count - half), first + half, errors, check),
    ]
