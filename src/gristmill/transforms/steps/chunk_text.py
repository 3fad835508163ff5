"""``chunk_text``: a text becomes rows of parts that an embedder takes well, one after the other with an overlap.

{"op": "chunk_text", "column": "body", "as": "part", "place": "part_no", "tokens": 200, "overlap": 20}
"""

from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from gristmill.transforms.chunks import Chunker, TokenCounters
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
from gristmill.transforms.schema_rules import check_target, need_type, refuse
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


class ChunkText(RowsParameters):
    """Parameters of ``chunk_text``."""

    tokens: int = Field(256, ge=8, le=100_000, description="The most tokens of a part.")
    overlap: int = Field(
        0,
        ge=0,
        description="The most tokens at the end of a part with which the next one begins: at most half of `tokens`.",
    )
    embedder: str | None = Field(
        None, description="The embedder whose tokens are counted. By default that of the dataset's embedding."
    )


def chunk_text_kind(counters: TokenCounters) -> StepKind:
    """Return the kind of step. counters: count the tokens of texts, by the name of the embedder."""

    def schema(step: ChunkText, columns: Columns, types: Types) -> Columns:
        need_type(columns, step.column, ("text",), "/column")
        check_target(step.target, "/as")
        if 2 * step.overlap > step.tokens:
            raise refuse("overlap", "out_of_range", f"{step.overlap} is more than half of tokens, {step.tokens}")
        name = step.embedder or types.embedder
        if name is None:
            raise refuse("embedder", "missing", "the dataset has no embedder: say whose tokens are counted")
        if name not in counters.names():
            valid = ", ".join(counters.names())
            raise refuse("embedder", "unknown_embedder", f"There is no embedder {name[:80]!r}; they are: {valid}")
        return rows_schema(step, columns, types.column(step.target, "text"), types)

    def make(step: ChunkText, columns: Columns, types: Types) -> Transform:
        name = step.embedder or types.embedder
        assert name is not None

        # Weights are loaded by who needs them, not where a contract is checked.
        chunker = cache(lambda: Chunker(counters.get(name), step.tokens, step.overlap))

        def transform(frame: Any, context: StepContext) -> Output:
            parts: list[str | None] = []
            counts = np.ones(len(frame), np.int64)
            failures: list[Failure] = []
            budget = RowBudget(frame, "chunk_text", {step.column, step.target}, context.most_bytes)
            for row, text in enumerate(column_of(frame, step.column).to_pylist()):
                found: list[str | None] = [None] if text is None else [*chunker().split(text)]
                failure = check_count(row, len(found), step.column)
                if failure is not None:
                    failures.append(failure)
                    found = [None]
                counts[row] = len(found)
                # With the overlap, which is half of a part at most, and in four bytes a character.
                budget.add(row, len(found), 8 * len(text or ""))
                parts += found
                context.check()
            made, origins = repeat_rows(frame, counts, {step.column, step.target})
            made = set_column(made, step.target, pa.chunked_array([pa.array(parts, pa.string())]))
            if step.place is not None:
                made = set_column(made, step.place, place_of(counts))
            return Output(made, origins, failures)

        return transform

    return StepKind(
        "chunk_text",
        ChunkText,
        schema,
        make,
        reads=reads_column,
        writes=writes_rows,
        description=(
            "Makes one row of each part of a text, with the other columns as they are; the text itself goes. Parts are "
            "as long as the tokens allow and end between words; a word of more tokens is cut. Nothing is left out: "
            "without an overlap the parts, joined, are the text. Null and a text that is short enough are one row."
        ),
        examples=[
            Example(
                {"op": "chunk_text", "column": "body", "place": "n", "tokens": 8, "overlap": 2, "embedder": "hashing"},
                {"id": "integer", "body": "text"},
                [{"id": 1, "body": "one two three four five six seven eight nine ten"}],
                [
                    {"id": 1, "body": "one two three four five six seven", "n": 1},
                    {"id": 1, "body": " six seven eight nine ten", "n": 2},
                ],
            )
        ],
        multiplies=True,
    )
