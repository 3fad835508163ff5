"""``image_normalise``: an image whose channels reach from the darkest to the lightest value.

{"op": "image_normalise", "column": "photo", "cutoff": 1}
"""

from PIL import Image
from pydantic import Field

from gristmill.images.steps.base import Chance, ImageOperation, ImageParameters, Operation
from gristmill.images.steps.examples import example


class Normalise(ImageParameters):
    """Parameters of ``image_normalise``."""

    cutoff: float = Field(
        0.0,
        ge=0,
        lt=50,
        description="The percentage of pixels, at either end, dark and light, that are passed over as outliers.",
    )


def _make(step: Normalise) -> Operation:
    def normalise(image: Image.Image, chance: Chance) -> Image.Image:
        # What nobody sees does not count.
        alpha = image.getchannel("A") if image.mode == "RGBA" else None
        seen = None if alpha is None else alpha.point([0] + [255] * 255)
        colours = image if alpha is None else image.convert("RGB")
        counts = colours.histogram(seen)
        tables = [_table(counts[start : start + 256], step.cutoff) for start in range(0, len(counts), 256)]
        made = colours.point([value for table in tables for value in table])
        if alpha is not None:
            made.putalpha(alpha)
        return made

    return normalise


def _table(counts: list[int], cutoff: float) -> list[int]:
    """Return what each value of a channel becomes. counts: of pixels, by their value.

    Pillow's ``autocontrast`` does the same in floats, and makes 254 of the lightest where they fall short of 255.
    """
    most = sum(counts) * cutoff / 100
    low, high = _end(counts, most), 255 - _end(counts[::-1], most)
    if low >= high:
        # There is one value, or none.
        return list(range(256))
    width = high - low
    return [min(255, max(0, (510 * (value - low) + width) // (2 * width))) for value in range(256)]


def _end(counts: list[int], most: float) -> int:
    """Return the first value up to which there are more than ``most`` pixels; 255 where there is none."""
    passed = 0
    for value, count in enumerate(counts):
        passed += count
        if passed > most:
            return value
    return 255


NORMALISE = ImageOperation(
    "image_normalise",
    Normalise,
    _make,
    description=(
        "Stretches the values of each channel so that the darkest is 0 and the lightest 255, as `-normalize` of "
        "ImageMagick does. A channel of one value stays as it is, and "
        "so does transparency; what is wholly transparent does not count."
    ),
    examples=(example({"op": "image_normalise"}, "00 55 / aa ff", before="60 70 / 80 90"),),
)
