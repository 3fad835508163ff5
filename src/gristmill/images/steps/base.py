"""What all steps on images share: their parameters, bounds, decoding and encoding, and seeded chance.

An operation is a function of pixels. As a step of a pipeline it reads a column of images and makes one; in an export
several follow one another on the same pixels, which are decoded and encoded once.
"""

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pyarrow as pa
from PIL import Image
from pydantic import Field

from gristmill.core.errors import Invalid, Violation
from gristmill.datasets.types.image import IMAGES_OF_A_CHUNK
from gristmill.images.encode import QUALITY, Format, encode, format_of
from gristmill.images.errors import BadImage, codec_errors
from gristmill.images.reader import ImageReader
from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.schema_rules import check_target, need_type, read_parameters, refuse
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

# The longest side that a step may give an image which had none so long.
MOST_SIDE = 16_384
# Rows after which a step asks whether it is to end.
CHECK_EVERY = 16


class ImageParameters(ColumnParameters):
    """Root of the parameters of steps on images."""

    format: Format | None = Field(
        None, description="The format that is written. By default that of the image; PNG for a GIF."
    )
    quality: int = Field(QUALITY, ge=1, le=100, description="The quality of JPEG and WebP.")


class Chance(NamedTuple):
    """Where the randomness of an image comes from, so that it is the same in every attempt and however a batch is cut.

    seed: the one of the export or of the step. content: a digest of the image's file. place: of the operation among
    those on the same pixels.
    """

    seed: int
    content: bytes
    place: int = 0

    def generator(self) -> random.Random:
        digest = hashlib.blake2b(self.content, digest_size=16, salt=f"{self.place}".encode()[:16])
        digest.update(str(self.seed).encode())
        return random.Random(digest.digest())


Operation = Callable[[Image.Image, Chance], Image.Image]


Size = tuple[int, int]
"""Width and height in pixels."""


@dataclass(frozen=True, slots=True)
class ImageOperation:
    """One kind of operation.

    op, parameters, description, examples: as StepKind has them; parameters may have ``seed``. make: the function on
    pixels, for valid parameters; it raises BadImage. check: raises StepRefused for parameters that do not go together.
    size: the size that the result has, or has at most, for parameters and the size of an image. least: the size that
    every result has at least, for parameters: what is beyond the bounds is refused before there is any image.
    """

    op: str
    parameters: type[ImageParameters]
    make: Callable[[Any], Operation]
    description: str
    examples: Sequence[Example] = ()
    check: Callable[[Any], None] = lambda _: None
    size: Callable[[Any, Size], Size] = lambda _, size: size
    least: Callable[[Any], Size] = lambda _: (1, 1)

    def within(self, max_pixels: int) -> "ImageOperation":
        """Return the operation bounded: it makes no image of more pixels, or of a longer side than MOST_SIDE."""
        return replace(
            self, make=lambda step: _bounded(self, step, max_pixels), check=lambda step: self._check(step, max_pixels)
        )

    def _check(self, step: ImageParameters, max_pixels: int) -> None:
        self.check(step)
        width, height = self.least(step)
        if width * height > max_pixels:
            reason = (
                f"{width} × {height} pixels are more than {max_pixels}, which an image may have (images_max_pixels)"
            )
            raise refuse("width", "too_many_pixels", reason)


def _bounded(operation: ImageOperation, step: ImageParameters, max_pixels: int) -> Operation:
    change = operation.make(step)

    def bounded(image: Image.Image, chance: Chance) -> Image.Image:
        width, height = operation.size(step, image.size)
        if width * height > max_pixels:
            limit = f"at most {max_pixels} are allowed (images_max_pixels)"
            raise BadImage("too_many_pixels", f"would have {width} × {height} pixels, and {limit}")
        if max(width, height) > max(MOST_SIDE, *image.size):
            limit = f"a step makes sides of at most {MOST_SIDE}"
            raise BadImage("side_too_long", f"would have {width} × {height} pixels, and {limit}")
        after = change(image, chance)
        if after is not image:
            # A profile says what the colours of its mode are; it is nonsense beside grey where it was of colours.
            same = (after.mode == "L") == (image.mode == "L")
            after.info = dict(image.info) if same else {}
            after.format = image.format
        return after

    return bounded


def chance_of(data: bytes, seed: int, place: int = 0) -> Chance:
    """Return the randomness for the image whose file is ``data``."""
    return Chance(seed, hashlib.blake2b(data, digest_size=16).digest(), place)


def step_kind(operation: ImageOperation, reader: ImageReader) -> StepKind:
    """Return the operation as a kind of step of pipelines."""

    def schema(step: ImageParameters, columns: Columns, types: Types) -> Columns:
        # A text is a path, as a derived one is.
        need_type(columns, step.column, ("image", "text"), "/column")
        check_target(step.target, "/as")
        operation.check(step)
        return {**columns, step.target: Column(step.target, "image", pa.binary())}

    def make(step: ImageParameters, columns: Columns, types: Types) -> Transform:
        change = operation.make(step)

        def transform(frame: Any, context: StepContext) -> Output:
            made: list[bytes | None] = []
            failures: list[Failure] = []
            total = 0
            for row, value in enumerate(column_of(frame, step.column).to_pylist()):
                if row % CHECK_EVERY == 0:
                    context.check()
                try:
                    made.append(None if value is None else _changed(reader, step, change, value))
                    total += len(made[-1] or b"")
                    _check_total(operation.op, total, context)
                except BadImage as error:
                    failures.append(Failure(row, error.code, f"{step.column} {error.reason}", step.column))
                    made.append(None)
            column = pa.chunked_array([pa.array(made, pa.binary())])
            return Output(set_column(frame, step.target, column), failures=failures)

        return transform

    return StepKind(
        operation.op,
        operation.parameters,
        schema,
        make,
        reads=reads_column,
        writes=writes_target,
        description=operation.description,
        examples=operation.examples,
        most_records=IMAGES_OF_A_CHUNK,
    )


def _check_total(op: str, total: int, context: StepContext) -> None:
    """Raise Invalid where the images of a batch take more memory than its rows may: paths are short, images are not."""
    if total > 2 * context.most_bytes:
        reason = (
            f"{op} makes more than {2 * context.most_bytes} bytes of images of one batch: make them smaller, write "
            "jpeg or webp, or submit fewer records at once (or set jobs.chunk_records lower)"
        )
        raise Invalid(reason, [Violation("", "too_large", reason)])


def _changed(reader: ImageReader, step: ImageParameters, change: Operation, value: bytes | str) -> bytes:
    data = reader.read(value)
    before = reader.decode(data)
    with codec_errors():
        after = change(before, chance_of(data, getattr(step, "seed", 0)))
        return encode(after, step.format or format_of(before), step.quality)


def parse_operations(
    steps: Sequence[Mapping[str, Any]], kinds: Mapping[str, ImageOperation]
) -> list[tuple[ImageOperation, ImageParameters]]:
    """Return the operations that an export names, with their parameters. Raises StepRefused, KeyError."""
    found = []
    for step in steps:
        kind = kinds[step["op"]]
        found.append((kind, read_parameters(kind.parameters, {**step, "column": "image"})))
    return found
