"""``cast``: a column becomes one of another type; a value that is none of that type is its record's error.

{"op": "cast", "column": "price", "type": "decimal", "decimal": ",", "thousands": "."}
{"op": "cast", "column": "sold", "type": "date", "format": "%d/%m/%Y"}
"""

from collections.abc import Sequence
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field

from gristmill.kit.time_zones import time_zones
from gristmill.transforms.conversions import Conversion, targets_of
from gristmill.transforms.formats.moments import Format
from gristmill.transforms.formats.numbers import check_marks
from gristmill.transforms.formats.texts import FALSE, MOMENTS, NUMBERS, TRUE, Writing, build_reader
from gristmill.transforms.run import column_of, set_column, whole
from gristmill.transforms.schema_rules import check_target, need, refuse, typed_target
from gristmill.transforms.spec import (
    Column,
    ColumnParameters,
    Columns,
    Example,
    Failure,
    Output,
    StepContext,
    StepKind,
    Transform,
    Types,
    reads_column,
    writes_target,
)

_READ = (*NUMBERS, "boolean", *MOMENTS, "duration", "uuid", "json")
# The parameters that say how values are written, and the types that are written so.
_WRITING = {
    "decimal": NUMBERS,
    "thousands": NUMBERS,
    "format": MOMENTS,
    "zone": MOMENTS,
    "true": ("boolean",),
    "false": ("boolean",),
}


class Cast(ColumnParameters):
    """Parameters of ``cast``."""

    type: str = Field(description="The type that the values get.")
    decimal: str = Field(".", description="For numbers in texts: the mark before the fraction.")
    thousands: str | None = Field(
        None,
        description=(
            "For numbers in texts: the mark between groups of three digits (of two before the last three, as in India)."
        ),
    )
    format: str | None = Field(
        None,
        description=(
            "For dates and timestamps in texts: their order, by the directives `%Y %y %m %b %B %d %H %I %p %M %S %f "
            "%z %a %A`. Without it they are written as in ISO 8601."
        ),
    )
    zone: str | None = Field(
        None,
        description=(
            "For timestamps in texts: the time zone of those without an offset. For the date of a timestamp: the zone"
            " of the day, by default UTC."
        ),
    )
    true: list[str] = Field(
        list(TRUE), description="For booleans in texts: what stands for true, in any case.", max_length=100
    )
    false: list[str] = Field(list(FALSE), description="The same for false.", max_length=100)
    nulls: list[str] = Field([], description='Texts that stand for null, such as `""` and `"n/a"`.', max_length=100)
    otherwise: Literal["error", "null"] = Field(
        "error",
        description="What becomes of a value that is none of the type: `error` (the record does not fit) or `null`.",
    )


def _schema(step: Cast, columns: Columns, types: Types) -> Columns:
    source = need(columns, step.column, "/column")
    check_target(step.target, "/as")
    target = typed_target(step.target, step.type, step.type, types)
    valid = _READ if source.type == "text" else targets_of(source.type)
    if target.type not in valid:
        reason = f"{source.name} is of type {source.type}, which may become {', '.join(valid) or 'nothing else'}"
        raise refuse("type", "wrong_type", f"{reason}; not {target.type}")
    _check_writing(step, source, target, types)
    return {**columns, target.name: target}


def _check_writing(step: Cast, source: Column, target: Column, types: Types) -> None:
    """Raise StepRefused for parameters about the writing of values that do not apply, or cannot be meant."""
    day = (source.type, target.type) == ("timestamp", "date")
    for member in step.model_fields_set & {*_WRITING, "nulls"}:
        applies = source.type == "text" and target.type in _WRITING.get(member, _READ)
        if not applies and not (day and member == "zone"):
            reason = f"{member} has no meaning where {source.type} becomes {target.type}"
            raise refuse(member, "not_applicable", reason)
    mistake = check_marks(step.decimal, step.thousands)
    if mistake is not None:
        raise refuse(mistake[0], "bad_value", mistake[1])
    if step.zone is not None and step.zone not in time_zones():
        raise refuse("zone", "unknown_zone", f"{step.zone[:80]!r} is not an IANA time zone such as Europe/Berlin")
    if target.type == "boolean" and source.type == "text":
        words = [word.strip().lower() for word in (*step.true, *step.false)]
        if not (step.true and step.false) or len(set(words)) < len(words):
            raise refuse("true", "bad_value", "true and false each list at least one text, and none twice")
    if step.format is not None:
        _check_format(step, target, types)


def _check_format(step: Cast, target: Column, types: Types) -> None:
    assert step.format is not None
    try:
        format_ = Format(step.format)
    except ValueError as error:
        raise refuse("format", "bad_value", f"{step.format[:80]!r}: {error}") from error
    if target.type == "date" and "hour" in format_.parts:
        reason = "a date has no time: cast to a timestamp, then to the date of it"
        raise refuse("format", "not_applicable", reason)
    if target.type == "timestamp" and not format_.has_offset and types.zone(target, step.zone) is None:
        raise refuse("zone", "missing", "without %z in the format, a timestamp needs a zone")
    if target.type == "timestamp" and format_.has_offset and step.zone is not None:
        raise refuse("zone", "not_applicable", "with %z in the format, a zone has no meaning")


def _make(step: Cast, columns: Columns, types: Types) -> Transform:
    source = columns[step.column]
    target = typed_target(step.target, step.type, step.type, types)
    if source.type != "text":
        return _converting(step, Conversion(source, target, step.zone, columns, types))
    writing = Writing(step.decimal, step.thousands, step.format, step.zone, step.true, step.false, step.nulls)
    read = build_reader(target, writing, types)

    def transform(frame: Any, context: StepContext) -> Output:
        values, mistakes = read(whole(column_of(frame, step.column)))
        failures = [Failure(*mistake, step.column) for mistake in mistakes]
        return _output(step, frame, pa.chunked_array([values]), failures)

    return transform


def _converting(step: Cast, conversion: Conversion) -> Transform:
    def transform(frame: Any, context: StepContext) -> Output:
        return _output(step, frame, *conversion(frame, context))

    return transform


def _output(step: Cast, frame: Any, values: pa.ChunkedArray, failures: Sequence[Failure]) -> Output:
    return Output(set_column(frame, step.target, values), None, failures if step.otherwise == "error" else ())


CAST = StepKind(
    "cast",
    Cast,
    _schema,
    _make,
    reads=reads_column,
    writes=writes_target,
    description=(
        "Makes values of another type. Texts are read without the blanks around them; what is no value of the type is"
        " that record's error, which shows it. "
        "Numbers become numbers that equal them: 2.5 is no integer, 2^53 + 1 no float; of a decimal the nearest float"
        " is taken, of a float the decimal that it is shown as. "
        "Every type but json and vector becomes the text that records show."
    ),
    examples=[
        Example(
            {"op": "cast", "column": "price", "type": "decimal", "decimal": ",", "thousands": "."},
            {"price": "text"},
            [{"price": " 1.234,50"}],
            [{"price": "1234.50"}],
        ),
        Example(
            {"op": "cast", "column": "sold", "type": "date", "format": "%d/%m/%Y", "nulls": ["", "-"]},
            {"sold": "text"},
            [{"sold": "1/2/2026"}, {"sold": "-"}],
            [{"sold": "2026-02-01"}, {"sold": None}],
        ),
        Example(
            {"op": "cast", "column": "at", "type": "timestamp", "format": "%d %b %Y %H:%M", "zone": "Europe/Berlin"},
            {"at": "text"},
            [{"at": "31 Jan 2026 12:00"}],
            [{"at": "2026-01-31T11:00:00Z"}],
        ),
        Example(
            {"op": "cast", "column": "member", "type": "boolean", "true": ["yes", "y"], "false": ["no", "n"]},
            {"member": "text"},
            [{"member": "Yes"}, {"member": "n"}, {"member": None}],
            [{"member": True}, {"member": False}, {"member": None}],
        ),
        Example(
            {"op": "cast", "column": "n", "as": "label", "type": "text"},
            {"n": "float"},
            [{"n": 0.5}],
            [{"n": 0.5, "label": "0.5"}],
        ),
    ],
)
