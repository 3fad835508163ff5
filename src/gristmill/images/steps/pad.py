"""``image_pad``: an image in the middle of a larger one.

{"op": "image_pad", "column": "photo", "ratio": 1, "colour": "#ffffff"}
"""

from PIL import Image
from pydantic import Field

from gristmill.images.steps.base import MOST_SIDE, Chance, ImageOperation, ImageParameters, Operation, Size
from gristmill.images.steps.colours import colour_parameter, on_ground
from gristmill.images.steps.examples import example
from gristmill.transforms.schema_rules import refuse


class Pad(ImageParameters):
    """Parameters of ``image_pad``."""

    width: int | None = Field(
        None, ge=1, le=MOST_SIDE, description="The width in pixels; an image that is wider stays so wide."
    )
    height: int | None = Field(
        None, ge=1, le=MOST_SIDE, description="The height in pixels; an image that is higher stays so high."
    )
    ratio: float | None = Field(
        None, ge=0.01, le=100, description="Instead of a size: the width divided by the height, such as 1 for a square."
    )
    colour: str | None = colour_parameter("what is added")


def _check(step: Pad) -> None:
    if step.ratio is not None and (step.width is not None or step.height is not None):
        raise refuse(
            "ratio", "wrong_members", "ratio stands in place of width and height: leave out the one or the others"
        )
    if step.ratio is None and step.width is None and step.height is None:
        raise refuse("width", "missing", "Nothing would be added: name width, height or both, or ratio")


def _size(step: Pad, before: Size) -> Size:
    width, height = before
    if step.ratio is None:
        return max(width, step.width or 1), max(height, step.height or 1)
    return max(width, round(height * step.ratio)), max(height, round(width / step.ratio))


def _make(step: Pad) -> Operation:
    def pad(image: Image.Image, chance: Chance) -> Image.Image:
        size = _size(step, image.size)
        if size == image.size:
            return image
        placed, colour = on_ground(image, step.colour)
        ground = Image.new(placed.mode, size, colour)
        # Without a mask: what is transparent in the image stays so.
        ground.paste(placed, ((size[0] - image.width) // 2, (size[1] - image.height) // 2))
        return ground

    return pad


PAD = ImageOperation(
    "image_pad",
    Pad,
    _make,
    description=(
        "Adds to an image at its sides, alike on both, until it has a size or a ratio; nothing of it is cut off or "
        "scaled."
    ),
    examples=(
        example(
            {"op": "image_pad", "ratio": 1.0, "colour": "#ff8800"},
            "ff8800 ff8800 ff8800 / ff0000 ffffff 0000ff / ff8800 ff8800 ff8800",
            before="ff0000 ffffff 0000ff",
        ),
        example({"op": "image_pad", "width": 4}, "ff 20 40 ff / ff 60 80 ff", before="20 40 / 60 80"),
    ),
    check=_check,
    size=_size,
    least=lambda step: (step.width or 1, step.height or 1),
)
