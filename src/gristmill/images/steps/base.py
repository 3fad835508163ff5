"""What all steps on images share: their parameters, decoding and encoding, and seeded chance.

An operation is a function of pixels. As a step of a pipeline it reads a column of images and makes one; in an export
several follow one another on the same pixels, which are decoded and encoded once.
"""

import hashlib
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
from PIL import Image
from pydantic import Field

from gristmill.images.encode import QUALITY, Format, encode, format_of
from gristmill.images.errors import BadImage
from gristmill.images.reader import ImageReader
from gristmill.transforms.run import column_of, set_column
from gristmill.transforms.schema_rules import check_target, need_type, read_parameters
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

# The largest side that a step may make an image of.
MOST_SIDE = 16_384
# Rows after which a step asks whether it is to end.
_CHECK_EVERY = 16


class ImageParameters(ColumnParameters):
    """Root of the parameters of steps on images."""

    format: Format | None = Field(
        None, description="The format that is written. By default that of the image; PNG for a GIF."
    )
    quality: int = Field(QUALITY, ge=1, le=100, description="The quality of JPEG and WebP.")


class Chance(NamedTuple):
    """Where the randomness of an image comes from, so that it is the same in every attempt and however a batch is cut.

    seed: the one of the export or of the step. content: a digest of the image's file. place: of the operation.
    """

    seed: int
    content: bytes
    place: int = 0

    def generator(self) -> random.Random:
        digest = hashlib.blake2b(self.content, digest_size=16, salt=f"{self.place}".encode()[:16])
        digest.update(str(self.seed).encode())
        return random.Random(digest.digest())


Operation = Callable[[Image.Image, Chance], Image.Image]


@dataclass(frozen=True, slots=True)
class ImageOperation:
    """One kind of operation.

    op, parameters, description, examples: as StepKind has them; parameters may have ``seed``. make: the function on
    pixels, for valid parameters; it raises BadImage. check: raises StepRefused for parameters that do not go together.
    """

    op: str
    parameters: type[ImageParameters]
    make: Callable[[Any], Operation]
    description: str
    examples: Sequence[Example] = ()
    check: Callable[[Any], None] = lambda _: None


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
            for row, value in enumerate(column_of(frame, step.column).to_pylist()):
                if row % _CHECK_EVERY == 0:
                    context.check()
                try:
                    made.append(None if value is None else _changed(reader, step, change, value))
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
    )


def _changed(reader: ImageReader, step: ImageParameters, change: Operation, value: bytes | str) -> bytes:
    data = reader.read(value)
    before = reader.decode(data)
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
