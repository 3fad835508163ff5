"""Values of other rows of a series."""

import numpy as np
import pyarrow as pa

from gristmill.transforms.schema_rules import refuse
from gristmill.transforms.series.order import Ordered

MOST_ROWS = 1_000_000


def check_rows(rows: int) -> None:
    """Check how far a step looks. Raises StepRefused."""
    if not 1 <= abs(rows) <= MOST_ROWS:
        raise refuse("rows", "out_of_range", f"{rows} is no number of rows from 1 to {MOST_ROWS}, before or behind (-)")


def shifted(ordered: Ordered, values: pa.ChunkedArray, rows: int) -> pa.Array:
    """Return for each place the value so many rows before it in its group, or null."""
    places = np.arange(len(ordered.starts)) - rows
    outside = (places < ordered.starts) | (places >= ordered.ends)
    return ordered.take(values).take(pa.array(places, mask=outside))
