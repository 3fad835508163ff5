"""``split``: the parts of a text become columns, or a list.

{"op": "split", "column": "name", "separator": " ", "into": ["first_name", "last_name"], "rest": "keep"}
"""

import json
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from gristmill.transforms.run import column_of, set_column, whole
from gristmill.transforms.schema_rules import check_target, need_type, refuse
from gristmill.transforms.spec import (
    Columns,
    Example,
    Failure,
    Output,
    Parameters,
    StepContext,
    StepKind,
    Transform,
    Types,
)


class Split(Parameters):
    """Parameters of ``split``."""

    column: str = Field(description="The text that is split.")
    separator: str = Field(description="What stands between the parts, as it is written.", min_length=1, max_length=100)
    into: list[str] | None = Field(
        None,
        description="The columns that get the parts, in their order; null where there are fewer.",
        min_length=1,
        max_length=100,
    )
    as_: str | None = Field(
        None,
        alias="as",
        description="In place of `into`: the json column that gets all parts as a list, which `explode` makes rows of.",
    )
    rest: Literal["error", "keep", "drop"] = Field(
        "error",
        description=(
            "What becomes of more parts than columns: `error` (the record does not fit), `keep` (the last column gets"
            " the rest, separators and all) or `drop`."
        ),
    )

    @property
    def targets(self) -> list[str]:
        return self.into if self.into is not None else [self.as_ or ""]


def _schema(step: Split, columns: Columns, types: Types) -> Columns:
    need_type(columns, step.column, ("text",), "/column")
    if (step.into is None) == (step.as_ is None):
        raise refuse("into", "missing" if step.into is None else "not_applicable", "split has either into or as")
    if step.into is None:
        if "rest" in step.model_fields_set:
            raise refuse("rest", "not_applicable", "a list gets all parts: rest has no meaning")
        check_target(step.targets[0], "/as")
        return {**columns, step.targets[0]: types.column(step.targets[0], "json")}
    for index, name in enumerate(step.into):
        check_target(name, f"/into/{index}")
        if name in step.into[:index]:
            raise refuse(f"into/{index}", "duplicate", f"{name} is listed twice")
    return {**columns, **{name: types.column(name, "text") for name in step.into}}


def _make(step: Split, columns: Columns, types: Types) -> Transform:
    return _to_list(step) if step.into is None else _to_columns(step, step.into)


def _to_list(step: Split) -> Transform:
    def transform(frame: Any, context: StepContext) -> Output:
        lists = [
            None if text is None else json.dumps(text.split(step.separator), ensure_ascii=False, separators=(",", ":"))
            for text in column_of(frame, step.column).to_pylist()
        ]
        return Output(set_column(frame, step.targets[0], pa.chunked_array([pa.array(lists, pa.string())])))

    return transform


def _to_columns(step: Split, into: list[str]) -> Transform:
    most = len(into) if step.rest == "drop" else len(into) - 1

    def transform(frame: Any, context: StepContext) -> Output:
        texts = whole(column_of(frame, step.column))
        parts = pc.split_pattern(texts, step.separator, max_splits=most)
        counts = pc.list_value_length(parts)
        made = frame
        for place, name in enumerate(into):
            there = pc.if_else(pc.greater(counts, place), parts, pa.scalar(None, parts.type))
            made = set_column(made, name, pa.chunked_array([pc.list_element(there, place)]))
        failures = []
        if step.rest == "error":
            last = whole(column_of(made, into[-1]))
            for row in pc.indices_nonzero(pc.match_substring(last, step.separator).fill_null(False)).to_pylist():
                reason = f"{texts[row].as_py()[:80]!r} has more parts than {len(into)}"
                failures.append(Failure(row, "too_many", reason, step.column))
        return Output(made, None, failures)

    return transform


SPLIT = StepKind(
    "split",
    Split,
    _schema,
    _make,
    reads=lambda step: frozenset({step.column}),
    writes=lambda step: frozenset(step.targets),
    description=(
        "Splits texts at a separator. Parts are as they stand, blanks and all; an empty text has one part, which is "
        "empty."
    ),
    examples=[
        Example(
            {"op": "split", "column": "name", "separator": " ", "into": ["first", "last"], "rest": "keep"},
            {"name": "text"},
            [{"name": "Ada King Lovelace"}, {"name": "Plato"}],
            [
                {"name": "Ada King Lovelace", "first": "Ada", "last": "King Lovelace"},
                {"name": "Plato", "first": "Plato", "last": None},
            ],
        ),
        Example(
            {"op": "split", "column": "tags", "separator": ";", "as": "list"},
            {"tags": "text"},
            [{"tags": "new;red"}],
            [{"tags": "new;red", "list": ["new", "red"]}],
        ),
    ],
)
