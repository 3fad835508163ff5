"""``json_extract``: a column becomes a member of a json column.

{"op": "json_extract", "column": "raw", "path": "name.first", "as": "first_name"}
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field
from pydantic_core import from_json

from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.schema_rules import check_target, need_type, typed_target
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


class JsonExtract(ColumnParameters):
    """Parameters of ``json_extract``."""

    path: str = Field(description="The path of the member, as filters write it: names with dots between them.")
    type: str | None = Field(
        None, description="The type of the values. By default that of the field called `as`, else text."
    )
    otherwise: Literal["error", "null"] = Field(
        "error",
        description=(
            "What becomes of a member that is no value of the type: `error` (the record does not fit) or `null`."
        ),
    )


def _schema(step: JsonExtract, columns: Columns, types: Types) -> Columns:
    need_type(columns, step.column, ("json",), "/column")
    check_target(step.target, "/as")
    _member(step, types)
    return {**columns, step.target: typed_target(step.target, step.type, "text", types)}


def _member(step: JsonExtract, types: Types) -> Callable[[Any], Any]:
    try:
        return types.member(step.path)
    except StepRefused as error:
        raise StepRefused(*(replace(one, pointer="/path") for one in error.violations)) from error


def _make(step: JsonExtract, columns: Columns, types: Types) -> Transform:
    target = typed_target(step.target, step.type, "text", types)
    find = _member(step, types)

    def transform(frame: Any, context: StepContext) -> Output:
        texts = column_of(frame, step.column).to_pylist()
        members = [None if text is None else find(from_json(text)) for text in texts]
        values, failures = read_members(members, target, types, step.column)
        failures = failures if step.otherwise == "error" else []
        return Output(set_column(frame, step.target, pa.chunked_array([values])), None, failures)

    return transform


def read_members(members: list[Any], target: Column, types: Types, field: str) -> tuple[pa.Array, list[Failure]]:
    """Return JSON values as a column, null for those that are no value of its type; and the failures of their rows."""
    try:
        return types.values(target, members, [""] * len(members)), []
    except StepRefused:
        # Once more, and now with their places.
        pointers = list(map(str, range(len(members))))
    failures = []
    try:
        types.values(target, members, pointers)
    except StepRefused as error:
        for one in error.violations:
            members[int(one.pointer)] = None
            failures.append(Failure(int(one.pointer), one.code, one.reason, field))
    return types.values(target, members, pointers), failures


JSON_EXTRACT = StepKind(
    "json_extract",
    JsonExtract,
    _schema,
    _make,
    reads=reads_column,
    writes=writes_target,
    description=(
        "Takes a member out of a json column, read as records read values of its type: a timestamp is a string with "
        "an offset, a decimal a string or an integer. "
        "A member that is absent or null gives null."
    ),
    examples=[
        Example(
            {"op": "json_extract", "column": "raw", "path": "name.first", "as": "first"},
            {"raw": "json"},
            [{"raw": {"name": {"first": "Ada"}}}, {"raw": {}}],
            [{"raw": {"name": {"first": "Ada"}}, "first": "Ada"}, {"raw": {}, "first": None}],
        ),
        Example(
            {"op": "json_extract", "column": "raw", "path": "age", "as": "age", "type": "integer"},
            {"raw": "json"},
            [{"raw": {"age": 36}}],
            [{"raw": {"age": 36}, "age": 36}],
        ),
    ],
)
