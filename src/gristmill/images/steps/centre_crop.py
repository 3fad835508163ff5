"""``image_centre_crop``: the middle of an image.

{"op": "image_centre_crop", "column": "photo", "width": 224, "height": 224, "unit": "pixels"}
"""

from PIL import Image

from gristmill.images.steps.base import Chance, ImageOperation, Operation
from gristmill.images.steps.crop_size import CropParameters, check_crop, cropped_size
from gristmill.images.steps.examples import example


class CentreCrop(CropParameters):
    """Parameters of ``image_centre_crop``."""


def _make(step: CentreCrop) -> Operation:
    def crop(image: Image.Image, chance: Chance) -> Image.Image:
        width, height = cropped_size(step, image.size)
        # Where the rest is odd, the smaller half is at the left and the top, as image_pad has it.
        left, top = (image.width - width) // 2, (image.height - height) // 2
        return image.crop((left, top, left + width, top + height))

    return crop


CENTRE_CROP = ImageOperation(
    "image_centre_crop",
    CentreCrop,
    _make,
    description="Keeps the middle of an image.",
    examples=(
        example({"op": "image_centre_crop", "width": 0.5, "height": 1.0}, "00ff00 0000ff / 404040 808080"),
        example({"op": "image_centre_crop", "width": 2, "height": 1, "unit": "pixels"}, "00ff00 0000ff"),
    ),
    check=check_crop,
    size=cropped_size,
)
