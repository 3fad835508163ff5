"""What a step of a pipeline is: its name, its typed parameters, its schema rule and a pure function on a frame."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from gristmill.core.errors import Violation

if TYPE_CHECKING:
    import pandas as pd

Mask = npt.NDArray[np.bool_]
Indexes = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Column:
    """A column between two steps. type: the name of a contract type. arrow: the type of its values in a frame."""

    name: str
    type: str
    arrow: pa.DataType


Columns = Mapping[str, Column]
Predicate = Callable[[pa.Table], Mask]
"""Says of each row of a table whether it is kept."""


class RowMistake(NamedTuple):
    """What is wrong with the value of one row. row: its place in the column."""

    row: int
    code: str
    reason: str


class Types(Protocol):
    """What steps know of contract types. The datasets' side implements it, as those types are theirs."""

    def column(self, name: str, type_: str) -> Column:
        """Return a column of a contract type. Raises KeyError for a type that there is not."""
        ...

    def target(self, name: str) -> Column | None:
        """Return the field of the dataset called ``name`` as a column, or None."""
        ...

    def values(self, column: Column, values: Sequence[Any], pointers: Sequence[str]) -> pa.Array:
        """Return JSON-like ``values`` (None stays null) as the column holds them.

        Raises StepRefused with the pointer of each one that is no value of the column's type.
        """
        ...

    def read_text(self, column: Column, text: str) -> Any:
        """Return the JSON-like value that a member name or a CSV cell of the column stands for."""
        ...

    def comparable(self, column: Column, values: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return the column such that equal values are equal in Arrow and order as in Postgres.

        Raises StepRefused for types whose values do not compare.
        """
        ...

    def shown(self, column: Column, values: pa.Array) -> list[Any]:
        """Return the values as JSON has them, None for null."""
        ...

    def read_texts(self, column: Column, texts: pa.Array, zone: str | None = None) -> tuple[pa.Array, list[RowMistake]]:
        """Return the values that ``texts`` stand for, as CSV cells do; null where a text is none.

        zone: that of timestamps without an offset.
        """
        ...

    def zone(self, column: Column, given: str | None) -> str | None:
        """Return the time zone of moments without an offset: the one that is ``given``, else that of the field."""
        ...

    @property
    def embedder(self) -> str | None:
        """The name of the embedder that makes the dataset's vectors."""
        ...

    def scale(self, column: Column) -> int | None:
        """Return how many places behind the point a column of decimals has at most, None where no field says so."""
        ...

    @property
    def time_field(self) -> str | None:
        """The name of the field that says when a record was."""
        ...

    @property
    def key(self) -> Sequence[str]:
        """The names of the fields of the key."""
        ...

    def member(self, path: str) -> Callable[[Any], Any]:
        """Return what finds the member at a path in a JSON value. Raises StepRefused for what is no path."""
        ...

    def predicate(self, where: Any, columns: Columns, pointer: str) -> Predicate:
        """Return a filter in the language ``where`` for tables with ``columns``. Raises StepRefused."""
        ...


class Parameters(BaseModel):
    """Root of the parameters of steps: members that are not named are refused, nothing is converted."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True)

    op: str


class ColumnParameters(Parameters):
    """Root of the parameters of steps that make one column of one."""

    column: str = Field(description="The column that is read.")
    as_: str | None = Field(
        None,
        alias="as",
        description="The column that gets the values; one that is there is replaced. By default `column`.",
    )

    @property
    def target(self) -> str:
        return self.column if self.as_ is None else self.as_


def reads_column(step: ColumnParameters) -> frozenset[str]:
    return frozenset({step.column})


def writes_target(step: ColumnParameters) -> frozenset[str]:
    return frozenset({step.target})


class StepRefused(Exception):
    """The parameters of a step do not fit its columns. Pointers lead into the step's object."""

    def __init__(self, *violations: Violation) -> None:
        super().__init__("; ".join(violation.reason for violation in violations))
        self.violations = violations


class GroupFailure(Exception):
    """What a step would make of several rows of its input cannot be. rows: those rows. field: the one to blame."""

    def __init__(self, rows: Sequence[int], code: str, reason: str, field: str) -> None:
        super().__init__(reason)
        self.rows, self.code, self.reason, self.field = rows, code, reason, field


@dataclass(frozen=True, slots=True)
class Failure:
    """A row of a step's input frame that it cannot do. field: the column that is to blame."""

    row: int
    code: str
    reason: str
    field: str


@dataclass(frozen=True, slots=True)
class Output:
    """What a step made.

    origins: for each row of ``frame`` the row of the input frame that it was made of, rising unless the step works per
    batch; None: the same rows. Rows of the input that are in no row of the frame were dropped, unless ``failures``
    names them. merged_into: of a step that makes one row of several: for each row of the input its row of ``frame``, or
    -1; ``origins`` names the first one of each. columns: those of ``frame``, where the step found them in the values.
    """

    frame: "pd.DataFrame"
    origins: Indexes | None = None
    failures: Sequence[Failure] = ()
    merged_into: Indexes | None = None
    columns: Columns | None = None


@dataclass(frozen=True, slots=True)
class StepContext:
    """What a step may use beside its frame. check: call now and then; it raises when the job is cancelled.

    most_bytes: of the rows that a step makes of a batch where it makes several of one.
    """

    check: Callable[[], None] = field(default=lambda: None)
    most_bytes: int = 128 * 1024 * 1024


Transform = Callable[["pd.DataFrame", StepContext], Output]


@dataclass(frozen=True, slots=True)
class Example:
    """What a step does, for lists and pages; a test runs it. types: of the columns before it. Rows are JSON objects."""

    step: Mapping[str, Any]
    types: Mapping[str, str]
    before: Sequence[Mapping[str, Any]]
    after: Sequence[Mapping[str, Any]]


Statistic = Literal["mean", "deviation", "minimum", "maximum", "median", "lower_quartile", "upper_quartile"]
"""Of the values of a column that are not null; deviation: the standard deviation of a population."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """What a step has to know of the values of a column. Its parameter ``fitted`` holds the statistics by name."""

    column: str
    statistics: Sequence[Statistic]


@dataclass(frozen=True, slots=True)
class StepKind:
    """One kind of step; ``steps/`` has a file for each.

    description: what it does, for those who write pipelines; the parameters describe themselves. fitting: what it has
    to know of values that are stored. schema: the columns after the step, given those before it; raises StepRefused.
    make: the function for parameters that ``schema`` accepted; it prepares once. reads, writes: names of columns.
    per_record: what becomes of a record depends on it alone, or a function that says so of the parameters; else the
    step works per batch. multiplies: it may make several rows of one. merges: it makes one row of several.
    finds_columns: says of parameters whether columns come of the values, so that no step can follow; only views take
    such a step. reads_too: columns that it reads though its parameters do not name them. most_records: of a chunk.
    """

    op: str
    parameters: type[Parameters]
    schema: Callable[[Any, Columns, Types], Columns]
    make: Callable[[Any, Columns, Types], Transform]
    reads: Callable[[Any], frozenset[str]]
    writes: Callable[[Any], frozenset[str]]
    description: str
    examples: Sequence[Example] = ()
    per_record: bool | Callable[[Any], bool] = True
    multiplies: bool = False
    merges: bool = False
    finds_columns: Callable[[Any], bool] = lambda _: False
    reads_too: Callable[[Any, Columns, Types], frozenset[str]] = lambda *_: frozenset()
    most_records: int | None = None
    fitting: Callable[[Any], Fitting] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what a list of steps shows: ``parameters`` is a JSON Schema."""
        schema = self.parameters.model_json_schema()
        schema.pop("description", None)
        schema["properties"]["op"] = {"const": self.op}
        return {
            "op": self.op,
            "description": self.description,
            "per_record": self.per_record is True,
            "multiplies": self.multiplies,
            "merges": self.merges,
            "parameters": schema,
            "examples": [{"step": one.step, "before": one.before, "after": one.after} for one in self.examples],
        }


@dataclass(frozen=True, slots=True)
class Step:
    """A step of one pipeline, ready to run. number: its place in the pipeline. columns: those after it.

    reads_too: of the columns that it reads those that its parameters do not name.
    """

    number: int
    kind: StepKind
    parameters: Any
    columns: Columns
    transform: Transform
    reads_too: frozenset[str] = frozenset()

    @property
    def reads(self) -> frozenset[str]:
        return self.kind.reads(self.parameters) | self.reads_too

    @property
    def writes(self) -> frozenset[str]:
        return self.kind.writes(self.parameters)

    @property
    def per_record(self) -> bool:
        """Whether what becomes of a record depends on it alone."""
        known = self.kind.per_record
        return known if isinstance(known, bool) else known(self.parameters)

    @property
    def fitting(self) -> Fitting | None:
        return None if self.kind.fitting is None else self.kind.fitting(self.parameters)
