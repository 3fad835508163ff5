"""``resample``: one row of all rows whose times are in one bucket, such as an hour.

{"op": "resample", "every": "1h", "by": ["sensor"], "measures": [{"agg": "mean", "column": "value", "as": "mean"}]}
"""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from gristmill.kit.buckets import Buckets
from gristmill.kit.spans import DAY, parse_span
from gristmill.kit.time_zones import time_zones
from gristmill.transforms.run import column_of
from gristmill.transforms.schema_rules import check_target, need_type, refuse
from gristmill.transforms.series.bucket_edges import bucket_edges
from gristmill.transforms.series.groups import group_codes, need_groups
from gristmill.transforms.series.measures import TIMED, Measure, measure, measured, reads_measures
from gristmill.transforms.series.merge import merged_rows
from gristmill.transforms.series.order import TIMES, moments_of, order_codes, reads_time
from gristmill.transforms.series.windows import unit_of
from gristmill.transforms.spec import (
    Column,
    Columns,
    Example,
    Indexes,
    Output,
    Parameters,
    StepContext,
    StepKind,
    Transform,
    Types,
)


class Resample(Parameters):
    """Parameters of ``resample``."""

    every: str = Field(description="The length of a bucket: `30s`, `15m`, `1h`, `1d`, `1w`, `1mo`, `1y`, or `PT15M`.")
    measures: tuple[Measure, ...] = Field(description="What is made of the rows of a bucket.")
    by: tuple[str, ...] = Field((), description="Columns whose equal values make buckets of their own; null is one.")
    time: str | None = Field(None, description="The column of times. By default the dataset's time field.")
    zone: str | None = Field(
        None, description="Whose calendar counts. By default the zone of the time field in the contract, else UTC."
    )
    start: str = Field("start", description="The column that gets the beginning of the bucket.")
    end: str = Field("end", description="The column that gets its end, which is not part of it.")


def _schema(step: Resample, columns: Columns, types: Types) -> Columns:
    time = _time(step, columns, types)
    need_groups(columns, step.by, types)
    _buckets(step, columns[time], types)
    found: dict[str, Column] = {}
    for member, name in (("start", step.start), ("end", step.end)):
        check_target(name, f"/{member}")
        if name in found or name in step.by:
            raise refuse(member, "duplicate", f"There would be two columns called {name}")
        found[name] = Column(name, columns[time].type, columns[time].arrow)
    return measured(step.measures, {**found, **{name: columns[name] for name in step.by}}, columns, types)


def _time(step: Resample, columns: Columns, types: Types) -> str:
    name = step.time if step.time is not None else types.time_field
    if name is None or (step.time is None and name not in columns):
        raise refuse("time", "missing", "resample needs a column of times: name one")
    return need_type(columns, name, TIMES, "/time").name


def _buckets(step: Resample, time: Column, types: Types) -> Buckets:
    try:
        every = parse_span(step.every)
    except ValueError as error:
        raise refuse("every", "not_a_span", f'"{step.every[:80]}" is no length of buckets: {error}') from error
    dates = unit_of(time) > 1
    if every.unit == "microsecond" and (dates or every.count >= DAY):
        what = f"{time.name} is a date" if dates else "from a day on they follow the calendar"
        raise refuse("every", "not_a_span", f"{step.every}: {what}: say days, such as 1d")
    if dates and step.zone is not None:
        raise refuse("zone", "not_applicable", f"{time.name} is a date, which is in no zone")
    zone = "UTC" if dates else types.zone(time, step.zone) or "UTC"
    if zone not in time_zones():
        raise refuse("zone", "unknown_value", f'"{zone[:80]}" is no IANA time zone such as Europe/Berlin')
    return Buckets(every, zone)


def _make(step: Resample, columns: Columns, types: Types) -> Transform:
    made, time = _schema(step, columns, types), _time(step, columns, types)
    buckets, unit = _buckets(step, columns[time], types), unit_of(columns[time])
    ordering = time if any(one.agg in TIMED for one in step.measures) else None

    def transform(frame: Any, context: StepContext) -> Output:
        moments = column_of(frame, time)
        known = moments.is_valid().to_numpy()
        begins, ends = bucket_edges(buckets, moments_of(moments)[known] * unit)
        numbers, bucket = np.unique(begins, return_inverse=True)
        groups, count = group_codes(frame, step.by, columns, types)
        # By bucket, then by group; rows without a time are in no bucket, behind all others.
        codes = np.full(len(frame), len(numbers) * count, np.int64)
        codes[known] = bucket * count + groups[known]
        ordered = order_codes(frame, codes, len(numbers) * count + 1, ordering, columns, types, untimed=True)
        context.check()
        starts = ordered.firsts[ordered.codes[ordered.firsts] < len(numbers) * count]
        rows = merged_rows(ordered, starts, int(known.sum()))
        edge = np.zeros(len(frame), np.int64)
        arrays: dict[str, Any] = {}
        for name, values in ((step.start, begins), (step.end, ends)):
            edge[known] = values
            arrays[name] = _times(edge[rows.origins] // unit, columns[time])
        for name in step.by:
            arrays[name] = column_of(frame, name).take(pa.array(rows.origins))
        for one in step.measures:
            context.check()
            arrays[one.target] = measure(one, frame, ordered, starts, ordered.ends[starts], columns, types)
        return rows.output(made, arrays)

    return transform


def _times(numbers: Indexes, time: Column) -> pa.Array:
    array = pa.array(numbers)
    return array.cast(pa.int32()).view(time.arrow) if pa.types.is_date32(time.arrow) else array.view(time.arrow)


RESAMPLE = StepKind(
    "resample",
    Resample,
    _schema,
    _make,
    reads=lambda step: frozenset(step.by) | reads_measures(step.measures) | ({step.time} if step.time else set()),
    writes=lambda step: frozenset({step.start, step.end, *(one.target for one in step.measures)}),
    reads_too=reads_time,
    per_record=False,
    merges=True,
    description=(
        "Makes one row of all rows of a batch whose times are in one bucket, in the order of the buckets, of one bucket"
        " in that of the groups. Buckets are true to the calendar of the zone, "
        "[as those of aggregates](semantics.md#aggregates): a day of a clock change has 23 or 25 hours, the doubled"
        " hour is two buckets. Rows without a time are dropped; there are no rows for empty buckets, which an "
        "[aggregate](aggregates.md) fills. Other columns go."
    ),
    examples=[
        Example(
            {"op": "resample", "every": "1h", "time": "at", "measures": [{"agg": "sum", "column": "n"}]},
            {"at": "timestamp", "n": "integer"},
            [
                {"at": "2026-01-31T12:59:59Z", "n": 1},
                {"at": "2026-01-31T13:00:00Z", "n": 2},
                {"at": "2026-01-31T12:00:00Z", "n": 3},
            ],
            [
                {"start": "2026-01-31T12:00:00Z", "end": "2026-01-31T13:00:00Z", "sum_n": 4},
                {"start": "2026-01-31T13:00:00Z", "end": "2026-01-31T14:00:00Z", "sum_n": 2},
            ],
        )
    ],
)
