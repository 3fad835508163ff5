"""``ewm``: a mean that weighs each row less than the one behind it.

{"op": "ewm", "column": "value", "alpha": 0.3, "as": "smooth", "by": ["sensor"]}
"""

from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.schema_rules import need_type, refuse
from gristmill.transforms.series.fold import Arrays, fold
from gristmill.transforms.series.gaps import neighbours
from gristmill.transforms.series.order import (
    Ordered,
    SeriesParameters,
    check_series,
    put_in_order,
    reads_series,
    reads_time,
    time_of,
)
from gristmill.transforms.series.windows import read_window, unit_of
from gristmill.transforms.spec import (
    Columns,
    Example,
    Indexes,
    Output,
    StepContext,
    StepKind,
    Transform,
    Types,
    writes_target,
)


class Ewm(SeriesParameters):
    """Parameters of ``ewm``."""

    alpha: float | None = Field(None, description="The weight of a row is (1 - alpha) to the power of the rows since.")
    span: float | None = Field(None, description="alpha is 2 / (span + 1); at least 1.")
    half_life: str | None = Field(
        None, description="A length of time such as `10s`: the weight halves each time as much has passed."
    )


def _schema(step: Ewm, columns: Columns, types: Types) -> Columns:
    need_type(columns, step.column, ("integer", "float"), "/column")
    check_series(step, columns, types)
    given = [name for name in ("alpha", "span", "half_life") if getattr(step, name) is not None]
    if len(given) != 1:
        raise refuse("alpha", "wrong_members", f"one of alpha, span and half_life is needed, given are {len(given)}")
    if step.alpha is not None and not 0 < step.alpha <= 1:
        raise refuse("alpha", "out_of_range", f"{step.alpha} is not above 0 and at most 1")
    if step.span is not None and not 1 <= step.span < float("inf"):
        raise refuse("span", "out_of_range", f"{step.span} is not at least 1")
    if step.half_life is not None:
        read_window(step.half_life, "half_life")
        if time_of(step, columns, types) is None:
            raise refuse("time", "missing", "half_life needs a column of times: name one")
    return {**columns, step.target: types.column(step.target, "float")}


def _make(step: Ewm, columns: Columns, types: Types) -> Transform:
    time = time_of(step, columns, types)
    elapsed = None if step.half_life is None else read_window(step.half_life, "half_life")
    length = None if elapsed is None or time is None else elapsed / unit_of(columns[time])

    def transform(frame: Any, context: StepContext) -> Output:
        ordered = put_in_order(frame, step.by, time, columns, types)
        context.check()
        made = _means(step, ordered.take(column_of(frame, step.column)), ordered, length)
        return Output(set_column(frame, step.target, ordered.back(made)))

    return transform


def _means(step: Ewm, values: pa.Array, ordered: Ordered, length: float | None) -> pa.Array:
    """Return the weighted mean of the values up to each place; null where there is none yet."""
    last = neighbours(ordered, values, behind=False)
    known = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
    # The first known value of each group, by the places of the known ones.
    starts = np.searchsorted(known, ordered.starts[known])
    passed = known if length is None else _times(ordered)[known]
    since = np.diff(passed, prepend=passed[:1]).astype(np.float64)
    since[starts == np.arange(len(known))] = 0.0
    decays = np.exp2(-since / length) if length is not None else np.power(1 - _alpha(step), since)
    columns = (decays, np.ones(len(known)), values.take(pa.array(known)).cast(pa.float64(), safe=False).to_numpy())
    _, _, means = fold(columns, starts, np.arange(1, len(known) + 1), _join, [1.0, 0.0, 0.0])
    at = np.searchsorted(known, last.fill_null(0).to_numpy())
    return pa.array(means).take(pa.array(at, mask=last.is_null().to_numpy(zero_copy_only=False)))


def _alpha(step: Ewm) -> float:
    return step.alpha if step.alpha is not None else 2 / ((step.span or 1) + 1)


def _times(ordered: Ordered) -> Indexes:
    assert ordered.times is not None
    return ordered.times


def _join(before: Arrays, behind: Arrays) -> Arrays:
    """Combine (decay over the values, sum of weights, weighted mean). The last value of a range has the weight 1."""
    aged = before[1] * behind[0]
    weight = aged + behind[1]
    share = aged / np.where(weight > 0, weight, 1.0)
    # Without a value before there is only what is behind, and the other way round.
    share = np.where(behind[1] > 0, share, 1.0)
    return before[0] * behind[0], weight, before[2] * share + behind[2] * (1 - share)


EWM = StepKind(
    "ewm",
    Ewm,
    _schema,
    _make,
    reads=reads_series,
    writes=writes_target,
    reads_too=reads_time,
    per_record=False,
    description=(
        "The exponentially weighted mean of the values up to each row: the sum of weight times value, divided by the "
        "sum of the weights. A null has no weight; its row gets the mean so far. A row without a time has none."
    ),
    examples=[
        Example(
            {"op": "ewm", "column": "value", "alpha": 0.5, "as": "smooth"},
            {"value": "float"},
            [{"value": 0.0}, {"value": 3.0}, {"value": None}],
            [{"value": 0.0, "smooth": 0.0}, {"value": 3.0, "smooth": 2.0}, {"value": None, "smooth": 2.0}],
        )
    ],
)
