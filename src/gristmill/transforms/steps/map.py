"""``map``: a value becomes the one beside it in a table.

{"op": "map", "column": "colour", "as": "colour_code", "values": {"red": "R", "green": "G"}, "default": "?"}
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from gristmill.core.errors import Violation
from gristmill.kit.json_pointer import pointer_to
from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.schema_rules import check_target, need, typed_target
from gristmill.transforms.spec import (
    Column,
    ColumnParameters,
    Columns,
    Example,
    Failure,
    Output,
    StepContext,
    StepKind,
    StepRefused,
    Transform,
    Types,
    reads_column,
    writes_target,
)

MOST_PAIRS = 10_000


class Map(ColumnParameters):
    """Parameters of ``map``."""

    values: dict[str, Any] | list[tuple[Any, Any]] = Field(
        description=(
            "An object, whose names stand for values of the column as CSV cells do; or a list of pairs "
            "`[value, answer]`, in which null may be looked up too. At most 10,000."
        )
    )
    type: str | None = Field(
        None,
        description=(
            "The type of the answers. By default that of the field called `as`; if there is none, that of the column "
            "where it stays the same, else text."
        ),
    )
    otherwise: Literal["default", "keep", "error"] = Field(
        "default",
        description=(
            "What becomes of a value that is not in `values`: `default`, `keep` (it stays as it is) or `error` (the "
            "record does not fit)."
        ),
    )
    default: Any = Field(None, description="The answer for such values; null if it is left out.")

    def keys(self, column: Column, types: Types) -> list[Any]:
        if isinstance(self.values, dict):
            return [types.read_text(column, name) for name in self.values]
        return [key for key, _ in self.values]

    @property
    def answers(self) -> list[Any]:
        if isinstance(self.values, dict):
            return list(self.values.values())
        return [answer for _, answer in self.values]


def _schema(step: Map, columns: Columns, types: Types) -> Columns:
    source = need(columns, step.column, "/column")
    check_target(step.target, "/as")
    target = _target(step, source, types)
    if not 0 < len(step.values) <= MOST_PAIRS:
        reason = f"values has {len(step.values)} pairs: from 1 to {MOST_PAIRS} are possible"
        raise StepRefused(Violation("/values", "out_of_range", reason, field="values"))
    if step.otherwise != "default" and step.default is not None:
        reason = f"default has no meaning where otherwise is {step.otherwise}"
        raise StepRefused(Violation("/default", "not_applicable", reason, field="default"))
    if step.otherwise == "keep" and source.arrow != target.arrow:
        reason = f"{source.name} is of type {source.type} and {target.name} of type {target.type}: it cannot be kept"
        raise StepRefused(Violation("/otherwise", "wrong_type", reason, field=target.name))
    keys = types.comparable(source, pa.chunked_array([_keys(step, source, types)]))
    _answers(step, target, types)
    seen = set()
    for pointer, key in zip(_pointers(step, 0), keys.to_pylist(), strict=True):
        if key in seen:
            reason = f"values names the value {str(key)[:80]} of {step.column} twice"
            raise StepRefused(Violation(pointer, "duplicate", reason, field=step.column))
        seen.add(key)
    return {**columns, target.name: target}


def _make(step: Map, columns: Columns, types: Types) -> Transform:
    source = columns[step.column]
    target = _target(step, source, types)
    keys = types.comparable(source, pa.chunked_array([_keys(step, source, types)])).combine_chunks()
    answers, default = _answers(step, target, types)

    def transform(frame: Any, context: StepContext) -> Output:
        before = column_of(frame, step.column)
        places = pc.index_in(types.comparable(source, before), value_set=keys)
        after = pc.take(answers, places)
        unknown = pc.and_(pc.is_valid(before), pc.is_null(places))
        failures: Sequence[Failure] = ()
        if step.otherwise == "keep":
            after = pc.if_else(unknown, before, after)
        elif step.otherwise == "error":
            failures = [_failure(step, row, before[row]) for row in np.flatnonzero(unknown.to_numpy()).tolist()]
        elif step.default is not None:
            after = pc.if_else(unknown, default, after)
        return Output(set_column(frame, target.name, after), None, failures)

    return transform


def _failure(step: Map, row: int, value: pa.Scalar) -> Failure:
    return Failure(row, "not_in_values", f"{str(value.as_py())[:80]!r} is not in the values of the step", step.column)


def _target(step: Map, source: Column, types: Types) -> Column:
    if step.type is None and step.target == source.name and types.target(step.target) is None:
        return source
    return typed_target(step.target, step.type, "text", types)


def _keys(step: Map, source: Column, types: Types) -> pa.Array:
    return types.values(source, step.keys(source, types), _pointers(step, 0))


def _answers(step: Map, target: Column, types: Types) -> tuple[pa.Array, pa.Scalar]:
    """Return the answers, and the one of values that have none."""
    default = types.values(target, [step.default], ["/default"])[0]
    return types.values(target, step.answers, _pointers(step, 1)), default


def _pointers(step: Map, part: int) -> list[str]:
    if isinstance(step.values, dict):
        return [pointer_to(("values", name[:80])) for name in step.values]
    return [pointer_to(("values", index, part)) for index in range(len(step.values))]


MAP = StepKind(
    "map",
    Map,
    _schema,
    _make,
    reads=reads_column,
    writes=writes_target,
    description=(
        "Looks values up in a table. Values compare as in filters: the decimals 1.5 and 1.50 are equal. A null stays "
        "null unless a pair says otherwise."
    ),
    examples=[
        Example(
            {"op": "map", "column": "colour", "as": "code", "values": {"red": "R", "green": "G"}, "default": "?"},
            {"colour": "text"},
            [{"colour": "red"}, {"colour": "pink"}, {"colour": None}],
            [
                {"colour": "red", "code": "R"},
                {"colour": "pink", "code": "?"},
                {"colour": None, "code": None},
            ],
        )
    ],
)
