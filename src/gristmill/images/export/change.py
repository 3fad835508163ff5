"""What is done to one image of an export: read, decoded once, changed by each operation, encoded once."""

from collections.abc import Mapping, Sequence
from typing import Any

from gristmill.images.decode import size_of
from gristmill.images.encode import QUALITY, SUFFIXES, Format, encode, format_of
from gristmill.images.errors import codec_errors
from gristmill.images.reader import ImageReader
from gristmill.images.steps.base import Chance, ImageOperation, chance_of, parse_operations


class ImageChange:
    """Makes the file of an image. Without operations, format and quality it is the image's own, byte for byte."""

    def __init__(
        self,
        reader: ImageReader,
        kinds: Mapping[str, ImageOperation],
        steps: Sequence[Mapping[str, Any]],
        *,
        seed: int,
        format: Format | None,
        quality: int | None,
    ) -> None:
        self._reader = reader
        self._operations = [
            (kind.make(parameters), _seed(parameters, seed)) for kind, parameters in parse_operations(steps, kinds)
        ]
        self._format = format
        self._quality = QUALITY if quality is None else quality
        self._copies = not steps and format is None and quality is None

    def make(self, value: bytes | str) -> tuple[bytes, str]:
        """Return the file and its suffix. value: as ``ImageReader.read`` has it. Raises as that does."""
        data = self._reader.read(value)
        if self._copies:
            return data, SUFFIXES[size_of(data, self._reader.max_pixels)[2].lower()]
        image = self._reader.decode(data)
        format = self._format or format_of(image)
        with codec_errors():
            return self._made(data, image, format), SUFFIXES[format]

    def _made(self, data: bytes, image: Any, format: Format) -> bytes:
        content = chance_of(data, 0).content
        for place, (operation, seed) in enumerate(self._operations):
            image = operation(image, Chance(seed, content, place))
        return encode(image, format, self._quality)


def _seed(parameters: Any, seed: int) -> int:
    """Return the seed of an operation: its own, where it was given one."""
    return int(parameters.seed) if "seed" in parameters.model_fields_set else seed
