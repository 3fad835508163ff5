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
from gristmill.transforms.schema_rules import check_target, need
from gristmill.transforms.spec import (
    Column,
    Columns,
    Failure,
    Output,
    Parameters,
    StepContext,
    StepKind,
    StepRefused,
    Transform,
    Types,
)

MOST_PAIRS = 10_000


class Map(Parameters):
    """Parameters of ``map``.

    column: what is looked up. as: the column that gets the answers, by default the same. values: an object, whose names
    stand for values of the column as CSV cells do, or a list of pairs ``[value, answer]``, in which the value may be
    null. type: the type of the answers, where ``as`` is no field; by default that of the column if it stays, else text.
    otherwise: what becomes of a value that is not in ``values``: ``default`` (that member, null if it is absent),
    ``keep`` (itself) or ``error``. A null is null afterwards, unless a pair says otherwise.
    """

    column: str
    as_: str | None = Field(None, alias="as")
    values: dict[str, Any] | list[tuple[Any, Any]]
    type: str | None = None
    otherwise: Literal["default", "keep", "error"] = "default"
    default: Any = None

    @property
    def target(self) -> str:
        return self.column if self.as_ is None else self.as_

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
    field = types.target(step.target)
    if step.type is not None:
        try:
            return types.column(step.target, step.type)
        except KeyError as error:
            raise StepRefused(Violation("/type", "unknown_value", str(error.args[0]), field="type")) from error
    if field is not None:
        return Column(step.target, field.type, field.arrow)
    return source if step.target == source.name else types.column(step.target, "text")


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
    reads=lambda step: frozenset({step.column}),
    writes=lambda step: frozenset({step.target}),
)
