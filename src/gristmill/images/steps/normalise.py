"""``image_normalise``: an image whose channels reach from the darkest to the lightest value.

{"op": "image_normalise", "column": "photo", "cutoff": 1}
"""

from PIL import Image, ImageOps
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
        if image.mode != "RGBA":
            return ImageOps.autocontrast(image, step.cutoff)
        # What is wholly transparent is not seen, and has no say.
        alpha = image.getchannel("A")
        stretched = ImageOps.autocontrast(image.convert("RGB"), step.cutoff, mask=alpha)
        stretched.putalpha(alpha)
        return stretched

    return normalise


NORMALISE = ImageOperation(
    "image_normalise",
    Normalise,
    _make,
    description=(
        "Stretches the values of each channel so that the darkest is 0 and the lightest 255, as `autocontrast` of "
        "Pillow does, and `-normalize` of ImageMagick in much the same way. A channel of one value stays as it is, and "
        "so does transparency; what is wholly transparent does not count."
    ),
    examples=(example({"op": "image_normalise"}, "00 55 / aa ff", before="60 70 / 80 90"),),
)
