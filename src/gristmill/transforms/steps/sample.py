"""``sample``: some of the rows of a batch, the same ones each time.

{"op": "sample", "fraction": 0.1, "seed": 7}
"""

from typing import Any

import numpy as np
from pydantic import Field

from gristmill.transforms.schema_rules import refuse
from gristmill.transforms.spec import (
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


class Sample(Parameters):
    """Parameters of ``sample``."""

    rows: int | None = Field(None, ge=0, description="How many rows stay; all of a batch that has no more.")
    fraction: float | None = Field(None, ge=0, le=1, description="Which part of the rows stays, rounded down.")
    seed: int = Field(ge=0, lt=2**63, description="Another seed takes other rows.")


def _schema(step: Sample, columns: Columns, types: Types) -> Columns:
    if (step.rows is None) == (step.fraction is None):
        raise refuse("rows", "wrong_members", "either rows or fraction is needed")
    return columns


def _make(step: Sample, columns: Columns, types: Types) -> Transform:
    def transform(frame: Any, context: StepContext) -> Output:
        count = len(frame)
        most = int(count * step.fraction) if step.fraction is not None else min(count, step.rows or 0)
        kept = np.sort(np.argsort(_mix(np.arange(count, dtype=np.uint64), step.seed), kind="stable")[:most])
        return Output(frame.take(kept), kept.astype(np.int64))

    return transform


def _mix(numbers: Any, seed: int) -> Indexes:
    """Return numbers that look random, the same on every machine and version.

    Source: the finalizer of SplitMix64; Steele, Lea, Flood, Fast Splittable Pseudorandom Number Generators, 2014.
    """
    start = np.uint64(seed * 0xD1342543DE82EF95 % 2**64)
    mixed = (numbers + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15) + start
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    found: Indexes = mixed ^ (mixed >> np.uint64(31))
    return found


SAMPLE = StepKind(
    "sample",
    Sample,
    _schema,
    _make,
    reads=lambda _: frozenset(),
    writes=lambda _: frozenset(),
    per_record=False,
    description=(
        "Keeps some rows of each batch, chosen by their place and the seed, in their order. Those that go count as "
        "dropped."
    ),
    examples=[
        Example({"op": "sample", "rows": 1, "seed": 1}, {"n": "integer"}, [{"n": 5}], [{"n": 5}]),
    ],
)
