"""``image_info``: the size and the format of an image as columns.

{"op": "image_info", "column": "photo", "width": "photo_width", "height": null, "format": null}
"""

from typing import Any

import pyarrow as pa
from pydantic import Field

from gristmill.datasets.types.image import IMAGES_OF_A_CHUNK
from gristmill.images.decode import size_of
from gristmill.images.errors import BadImage
from gristmill.images.reader import ImageReader
from gristmill.images.steps.base import CHECK_EVERY
from gristmill.images.steps.examples import BEFORE, picture
from gristmill.transforms.run import column_of, set_column
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

_TYPES = {"width": "integer", "height": "integer", "format": "text"}


class Info(Parameters):
    """Parameters of ``image_info``."""

    column: str = Field(description="The column of images, or of paths, that is read.")
    width: str | None = Field(
        "width", description="The column that gets the width in pixels; null for none. Orientation is applied."
    )
    height: str | None = Field("height", description="The same for the height.")
    format: str | None = Field(
        "format", description="The column that gets the format: `png`, `jpeg`, `gif` or `webp`; null for none."
    )


def _made(step: Info) -> dict[str, str]:
    """Return the columns that are made, by what they say."""
    named = {"width": step.width, "height": step.height, "format": step.format}
    return {what: name for what, name in named.items() if name is not None}


def _schema(step: Info, columns: Columns, types: Types) -> Columns:
    need_type(columns, step.column, ("image", "text"), "/column")
    made = _made(step)
    if not made:
        raise refuse("width", "missing", "It would make no column: name one of width, height and format")
    for what, name in made.items():
        check_target(name, f"/{what}")
        if list(made.values()).count(name) > 1:
            raise refuse(what, "duplicate", f"{name} would be made twice")
    return {**columns, **{name: types.column(name, _TYPES[what]) for what, name in made.items()}}


def info_kind(reader: ImageReader) -> StepKind:
    """Return the step, which reads images by ``reader``."""

    def make(step: Info, columns: Columns, types: Types) -> Transform:
        made = _made(step)

        def transform(frame: Any, context: StepContext) -> Output:
            found: list[tuple[int | None, int | None, str | None]] = []
            failures: list[Failure] = []
            for row, value in enumerate(column_of(frame, step.column).to_pylist()):
                if row % CHECK_EVERY == 0:
                    context.check()
                nothing = (None, None, None)
                try:
                    found.append(nothing if value is None else _info(reader, value))
                except BadImage as error:
                    failures.append(Failure(row, error.code, f"{step.column} {error.reason}", step.column))
                    found.append(nothing)
            for place, what in enumerate(_TYPES):
                if what in made:
                    kind = types.column(made[what], _TYPES[what]).arrow
                    values = pa.array([one[place] for one in found], kind)
                    frame = set_column(frame, made[what], pa.chunked_array([values]))
            return Output(frame, failures=failures)

        return transform

    return StepKind(
        "image_info",
        Info,
        _schema,
        make,
        reads=lambda step: frozenset({step.column}),
        writes=lambda step: frozenset(_made(step).values()),
        description="Says how large an image is and in which format, without decoding it.",
        examples=_EXAMPLES,
        most_records=IMAGES_OF_A_CHUNK,
    )


def _info(reader: ImageReader, value: bytes | str) -> tuple[int, int, str]:
    width, height, format_ = size_of(reader.read(value), reader.max_pixels)
    return width, height, format_.lower()


_BEFORE = picture(BEFORE)
_EXAMPLES = (
    Example(
        {"op": "image_info", "column": "photo"},
        {"photo": "image"},
        [{"photo": _BEFORE}],
        [{"photo": _BEFORE, "width": 4, "height": 2, "format": "png"}],
    ),
)
