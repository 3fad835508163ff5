"""A request that fits its contract, as values: what the statements are made of. ``checks`` makes it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from gristmill.datasets.contract import Contract, FieldSpec
from gristmill.kit.buckets import Buckets
from gristmill.records.aggregate.measures import Measured
from gristmill.records.aggregate.schemas import Melt, Pivot

START, END = "start", "end"
FillKind = Literal["none", "null", "previous", "linear", "value"]


@dataclass(frozen=True, slots=True)
class RollingStep:
    """A column over a window. rows, microseconds: the length of the window, one of them.

    result: the column that it makes. source: the one that it is made of.
    """

    source: FieldSpec
    result: FieldSpec
    agg: str
    rows: int | None
    microseconds: int | None
    by: Sequence[str]
    min_periods: int


@dataclass(frozen=True, slots=True)
class Plan:
    """start, end: of the window, canonical values of the time field. where: a filter, checked. by: fields of groups.

    fields: of the records themselves, in place of groups and measures; None for groups. order: (column, descending).
    values: what empty buckets get, as SQL by the names of measures. columns: of the result before pivot and melt.
    """

    contract: Contract
    time: FieldSpec | None
    buckets: Buckets | None
    zone: str
    start: Any
    end: Any
    where: Any
    by: Sequence[FieldSpec]
    measures: Sequence[Measured]
    fields: Sequence[FieldSpec] | None
    fill: FillKind
    values: dict[str, str]
    order: Sequence[tuple[str, bool]]
    limit: int | None
    rolling: Sequence[RollingStep]
    pivot: Pivot | None
    melt: Melt | None
    columns: Sequence[FieldSpec]
