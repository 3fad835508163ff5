"""``image_random_crop``: a part of an image, at a place that a seed and the image decide.

{"op": "image_random_crop", "column": "photo", "width": 0.8, "height": 0.8, "seed": 7}
"""

from PIL import Image
from pydantic import Field

from gristmill.images.steps.base import Chance, ImageOperation, Operation
from gristmill.images.steps.crop_size import CropParameters, check_crop, cropped_size
from gristmill.images.steps.examples import example


class RandomCrop(CropParameters):
    """Parameters of ``image_random_crop``."""

    seed: int = Field(0, ge=0, le=2**63 - 1, description="Another seed crops at other places; the same one never does.")


def _make(step: RandomCrop) -> Operation:
    def crop(image: Image.Image, chance: Chance) -> Image.Image:
        width, height = cropped_size(step, image.size)
        generator = chance.generator()
        left, top = generator.randint(0, image.width - width), generator.randint(0, image.height - height)
        return image.crop((left, top, left + width, top + height))

    return crop


RANDOM_CROP = ImageOperation(
    "image_random_crop",
    RandomCrop,
    _make,
    description=(
        "Keeps a part of an image at a random place, which the seed and the bytes of the image decide: in every "
        "attempt, and however a batch is cut, it is the same."
    ),
    examples=(example({"op": "image_random_crop", "width": 0.5, "height": 0.5, "seed": 7}, "404040 808080"),),
    check=check_crop,
    size=cropped_size,
)
