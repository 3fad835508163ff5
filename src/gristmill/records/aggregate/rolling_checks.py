"""Reads the steps of ``rolling``: windows over the rows of a result."""

from collections.abc import Sequence
from typing import Any

from gristmill.core.errors import Violation
from gristmill.datasets.contract import FieldSpec
from gristmill.datasets.describe import shorten
from gristmill.datasets.types import TYPES
from gristmill.kit.spans import DAY, parse_span
from gristmill.records.aggregate.measures import RESULTS, result_of
from gristmill.records.aggregate.plan import RollingStep
from gristmill.records.aggregate.schemas import Rolling

# Postgres has no windows for them.
_NO_WINDOW = ("median",)
MOST_ROWS = 1_000_000_000


def read_rolling(
    rolling: Rolling,
    columns: Sequence[FieldSpec],
    of_records: bool,
    edges: Sequence[FieldSpec],
    time: FieldSpec | None,
    pointer: str,
) -> RollingStep | list[Violation]:
    """Return a step, or what is wrong with it. columns: those that there are before it.

    of_records: the rows are records, and windows of time follow their time field; else that is where buckets begin.
    """
    wrong: list[Violation] = []
    known = {column.name: column for column in columns}

    def column(name: str, place: str) -> FieldSpec | None:
        if name not in known:
            valid = ", ".join(known)[:400]
            reason = f"There is no column {shorten(name)} here; there are: {valid}"
            wrong.append(Violation(f"{pointer}/{place}", "unknown_column", reason, field=name[:80]))
        return known.get(name)

    source = column(rolling.column, "column")
    if rolling.agg in _NO_WINDOW:
        valid = "count, sum, mean, min, max, stddev, first, last"
        reason = f"{rolling.agg} has no window in SQL; there are: {valid}"
        wrong.append(Violation(f"{pointer}/agg", "not_supported", reason, field="agg"))
    elif source is not None and source.type not in RESULTS[rolling.agg]:
        valid = ", ".join(RESULTS[rolling.agg])
        reason = f"{rolling.agg} does not take {source.type}, as {source.name} is: it takes {valid}"
        wrong.append(Violation(f"{pointer}/column", "wrong_type", reason, field=source.name))
    for index, name in enumerate(rolling.by):
        found = column(name, f"by/{index}")
        if found is not None and not TYPES[found.type].comparable:
            reason = f"{name} is of type {found.type}, whose values make no groups"
            wrong.append(Violation(f"{pointer}/by/{index}", "not_comparable", reason, field=name))
    label = rolling.as_ or f"{rolling.agg}_{rolling.column}"[:48]
    if label in known:
        reason = f"There is a column {label} already: give the new one another name (as)"
        wrong.append(Violation(f"{pointer}/as", "duplicate", reason, field=label))
    by_time = time if of_records else (edges[0] if edges else None)
    rows, microseconds = _window(rolling.window, by_time, pointer, wrong)
    if wrong or source is None:
        return wrong
    kind = RESULTS[rolling.agg][source.type]
    result = result_of(source, label, kind, rolling.agg).model_copy(update={"required": False})
    return RollingStep(source, result, rolling.agg, rows, microseconds, rolling.by, rolling.min_periods)


def _window(window: Any, time: FieldSpec | None, pointer: str, wrong: list[Violation]) -> tuple[int | None, int | None]:
    """Return the rows or the microseconds of a window."""
    place = f"{pointer}/window"
    if isinstance(window, int) and not isinstance(window, bool):
        if not 1 <= window <= MOST_ROWS:
            reason = f"A window has 1 to {MOST_ROWS} rows, not {shorten(window)}"
            wrong.append(Violation(place, "out_of_range", reason, field="window"))
        return window, None
    if not isinstance(window, str):
        reason = f'{shorten(window)} is no window: expected a length of time such as "5s", or a number of rows'
        wrong.append(Violation(place, "wrong_type", reason, field="window"))
        return None, None
    try:
        span = parse_span(window[:100])
    except ValueError as error:
        reason = f"window: {shorten(window)}: {error}; or a number of rows"
        wrong.append(Violation(place, "bad_duration", reason, field="window"))
        return None, None
    if span.elapsed is None:
        reason = f"window: {shorten(window)}: months have no fixed length: say days"
        wrong.append(Violation(place, "bad_duration", reason, field="window"))
    elif time is None:
        reason = "A window of time needs rows with a time: a time field, or buckets (every)"
        wrong.append(Violation(place, "no_time_field", reason, field="window"))
    elif time.type == "date" and span.elapsed % DAY:
        reason = f"{time.name} is a date: a window has whole days"
        wrong.append(Violation(place, "bad_duration", reason, field="window"))
    return None, span.elapsed
