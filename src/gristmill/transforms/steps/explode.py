"""``explode``: a record becomes one row for each member of a list.

{"op": "explode", "column": "tags", "as": "tag"}
"""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field
from pydantic_core import from_json

from gristmill.transforms.multiply import (
    RowBudget,
    RowsParameters,
    check_count,
    place_of,
    repeat_rows,
    rows_schema,
    writes_rows,
)
from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.schema_rules import check_target, need_type, typed_target
from gristmill.transforms.spec import (
    Columns,
    Example,
    Failure,
    Output,
    StepContext,
    StepKind,
    Transform,
    Types,
    reads_column,
)
from gristmill.transforms.steps.json_extract import read_members


class Explode(RowsParameters):
    """Parameters of ``explode``."""

    type: str | None = Field(
        None, description="The type of the members. By default that of the field called `as`, else json."
    )
    empty: Literal["keep", "drop"] = Field(
        "keep",
        description=(
            "What becomes of a record whose list is empty or null: `keep` (one row, in which the member is null) or "
            "`drop`."
        ),
    )


def _schema(step: Explode, columns: Columns, types: Types) -> Columns:
    need_type(columns, step.column, ("json",), "/column")
    check_target(step.target, "/as")
    made = typed_target(step.target, step.type, "json", types)
    return rows_schema(step, columns, made, types)


def _make(step: Explode, columns: Columns, types: Types) -> Transform:
    target = typed_target(step.target, step.type, "json", types)

    def transform(frame: Any, context: StepContext) -> Output:
        members: list[Any] = []
        counts = np.zeros(len(frame), np.int64)
        failures: list[Failure] = []
        budget = RowBudget(frame, "explode", {step.column, step.target}, context.most_bytes)
        for row, text in enumerate(column_of(frame, step.column).to_pylist()):
            found = [] if text is None else from_json(text)
            failure = _check(step, row, found)
            if failure is not None:
                failures.append(failure)
            if failure is not None or (not found and step.empty == "keep"):
                # A record that fails has a row until it is taken out as failed.
                found = [None]
            counts[row] = len(found)
            budget.add(row, len(found), len(text or ""))
            members += found
        context.check()
        values, wrong = read_members(members, target, types, step.column)
        made, origins = repeat_rows(frame, counts, {step.column, step.target})
        places = place_of(counts)
        failures += [
            Failure(int(origins[one.row]), one.code, f"member {places[one.row]}: {one.reason}", one.field)
            for one in wrong
        ]
        made = set_column(made, step.target, pa.chunked_array([values]))
        return Output(made if step.place is None else set_column(made, step.place, places), origins, failures)

    return transform


def _check(step: Explode, row: int, value: Any) -> Failure | None:
    if not isinstance(value, list):
        return Failure(row, "not_a_list", f"{str(value)[:80]} is no list", step.column)
    return check_count(row, len(value), step.column)


EXPLODE = StepKind(
    "explode",
    Explode,
    _schema,
    _make,
    reads=reads_column,
    writes=writes_rows,
    description=(
        "Makes one row of each member of a list in a json column, with the other columns as they are; the list itself "
        "goes. A value that is no list is its record's error. A record gives at most 2^20 rows, and the rows of a "
        "batch take at most 128 MiB."
    ),
    examples=[
        Example(
            {"op": "explode", "column": "tags", "as": "tag", "type": "text", "place": "n"},
            {"id": "integer", "tags": "json"},
            [{"id": 1, "tags": ["new", "red"]}, {"id": 2, "tags": []}],
            [
                {"id": 1, "tag": "new", "n": 1},
                {"id": 1, "tag": "red", "n": 2},
                {"id": 2, "tag": None, "n": 1},
            ],
        ),
    ],
    multiplies=True,
)
