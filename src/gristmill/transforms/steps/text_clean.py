"""``text_clean``: blanks, case, normal form and tags of texts.

{"op": "text_clean", "column": "title", "tags": true, "spaces": true, "empty_is_null": true}
"""

from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from gristmill.transforms.expression.functions.text import by_ascii, lower, normalised, upper
from gristmill.transforms.expression.run import evaluate_frame
from gristmill.transforms.expression.tree import Node, Rows
from gristmill.transforms.formats.blanks import BLANKS, trim
from gristmill.transforms.formats.markup import without_tags
from gristmill.transforms.run import set_column
from gristmill.transforms.schema_rules import check_target, need_type
from gristmill.transforms.spec import (
    ColumnParameters,
    Columns,
    Example,
    Output,
    StepContext,
    StepKind,
    Transform,
    Types,
    reads_column,
    writes_target,
)

_CASES = {"lower": lower, "upper": upper, "fold": by_ascii(pc.ascii_lower, str.casefold)}
_RUN = "[" + "".join(f"\\x{{{ord(blank):x}}}" for blank in BLANKS) + "]+"


class TextClean(ColumnParameters):
    """Parameters of ``text_clean``."""

    tags: bool = Field(
        False,
        description=(
            "Whether HTML becomes its text: without tags, comments, scripts and styles, with the characters that "
            "references such as `&amp;` stand for."
        ),
    )
    form: Literal["NFC", "NFKC"] | None = Field(
        "NFC", description="The normal form of Unicode; null leaves characters as they are."
    )
    case: Literal["lower", "upper", "fold"] | None = Field(
        None,
        description=(
            "`lower` or `upper` case, as Unicode has it, or `fold`, in which texts that differ in case alone are equal."
        ),
    )
    spaces: bool = Field(False, description="Whether each run of blanks (spaces, tabs, line ends) becomes one space.")
    trim: bool = Field(True, description="Whether blanks at both ends go.")
    empty_is_null: bool = Field(False, description="Whether a text of which nothing is left becomes null.")


def _schema(step: TextClean, columns: Columns, types: Types) -> Columns:
    need_type(columns, step.column, ("text",), "/column")
    check_target(step.target, "/as")
    return {**columns, step.target: types.column(step.target, "text")}


def _make(step: TextClean, columns: Columns, types: Types) -> Transform:
    # A part of an expression, so that a record that has no value is found among the others.
    node = Node("text", lambda rows: _clean(step, rows), frozenset({step.column}), step.column)

    def transform(frame: Any, context: StepContext) -> Output:
        values, failures = evaluate_frame(node, frame, context, f"text_clean of {step.column}", step.column)
        return Output(set_column(frame, step.target, values), None, failures)

    return transform


def _clean(step: TextClean, rows: Rows) -> pa.Array:
    texts = rows.arrays[step.column]
    if step.tags:
        texts = without_tags(texts)
    if step.form is not None:
        texts = normalised(texts, step.form)
    if step.case is not None:
        texts = _CASES[step.case](texts)
        # What has another case may have another normal form.
        texts = texts if step.form is None else normalised(texts, step.form)
    if step.spaces:
        texts = pc.replace_substring_regex(texts, _RUN, " ")
    if step.trim:
        texts = trim(texts)
    if step.empty_is_null:
        texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    return texts


TEXT_CLEAN = StepKind(
    "text_clean",
    TextClean,
    _schema,
    _make,
    reads=reads_column,
    writes=writes_target,
    description=(
        "Cleans texts, in this order: tags, normal form, case, spaces, trim. By default it gives the normal form NFC "
        "and trims."
    ),
    examples=[
        Example(
            {"op": "text_clean", "column": "title", "tags": True, "spaces": True, "case": "lower"},
            {"title": "text"},
            [{"title": "<p>Salt &amp; <b>Pepper</b></p>\n <p>Mill"}],
            [{"title": "salt & pepper mill"}],
        ),
        Example(
            {"op": "text_clean", "column": "note", "empty_is_null": True},
            {"note": "text"},
            [{"note": "  "}, {"note": "NA"}],
            [{"note": None}, {"note": "NA"}],
        ),
    ],
)
