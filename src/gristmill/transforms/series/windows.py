"""Windows that end at a row: the last rows, or the time (t - w, t]."""

import numpy as np
import pyarrow as pa
from pydantic import Field

from gristmill.kit.spans import DAY, RULE, parse_span
from gristmill.transforms.schema_rules import refuse
from gristmill.transforms.series.order import Ordered
from gristmill.transforms.spec import Column, Indexes, Mask

MOST_ROWS = 1_000_000
# Windows of fewer rows are counted row by row, some rows of the table at a time.
_COUNTED, _BLOCK = 16, 8192
WINDOW = Field(
    description=(
        "How far a window reaches back: a number of rows, the row itself included; or a length of time `w` such as "
        "`5s`, `15m`, `1h`, `1d` or `PT5S`: the rows at (t - w, t], of rows with the same time those up to the row."
    )
)


def read_window(window: int | str, member: str = "window") -> int | None:
    """Return how many microseconds a window takes, or None for one of so many rows. Raises StepRefused."""
    if isinstance(window, int):
        if not 1 <= window <= MOST_ROWS:
            raise refuse(member, "out_of_range", f"{window} is no number of rows from 1 to {MOST_ROWS}")
        return None
    try:
        length = parse_span(window).elapsed
    except ValueError as error:
        raise refuse(member, "not_a_span", f'"{window[:80]}" is no window: {error}') from error
    if length is None:
        raise refuse(member, "not_a_span", f'"{window[:80]}" has no fixed length, as months differ: expected {RULE}')
    return length


def unit_of(time: Column) -> int:
    """Return how many microseconds there are from one time to the next: those of dates are days."""
    return DAY if pa.types.is_date32(time.arrow) else 1


def row_windows(ordered: Ordered, rows: int) -> Indexes:
    """Return for each place the first one of its window of so many rows."""
    return np.maximum(ordered.starts, np.arange(len(ordered.starts)) - rows + 1)


def time_windows(ordered: Ordered, length: int) -> Indexes:
    """Return for each place the first one of its window. length: in the unit of the times."""
    times, starts = ordered.times, ordered.starts
    assert times is not None
    count = len(times)
    found, reach = _count_back(times, starts, length)
    if reach < _COUNTED:
        return found
    # Moments of all years are less than 2^59 microseconds apart.
    while reach < count and _reaches(times, starts, reach, length).any():
        reach *= 2
    found = np.arange(count)
    # From ``found`` on all rows are in the window: go back by half as much each time.
    while reach > 1:
        reach //= 2
        back = found - reach
        inside = back >= starts
        inside &= times - times[np.where(inside, back, 0)] < length
        found = found - inside * reach
    return found


def _count_back(times: Indexes, starts: Indexes, length: int) -> tuple[Indexes, int]:
    """Return the first place of each window, counted row by row, and the rows that the longest has, up to ``_COUNTED``:
    where there are so many, windows may begin before it."""
    found, longest = np.arange(len(times)), 1
    grouped = len(starts) > 0 and bool(starts[-1])
    for start in range(0, len(times), _BLOCK):
        end = min(start + _BLOCK, len(times))
        for back in range(1, _COUNTED):
            first = max(start, back)
            inside = times[first:end] - times[first - back : end - back] < length
            if grouped:
                inside &= starts[first:end] <= np.arange(first - back, end - back)
            if not inside.any():
                break
            found[first:end] -= inside
            longest = max(longest, back + 1)
        if longest == _COUNTED:
            break
    return found, longest


def _reaches(times: Indexes, starts: Indexes, rows: int, length: int) -> Mask:
    """Return whether the row so many rows before is in the window, for each row that has one."""
    near: Mask = times[rows:] - times[:-rows] < length
    return near & (starts[rows:] <= np.arange(len(times) - rows))
