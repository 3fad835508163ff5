"""``image_random_crop``: a part of an image, at a place that a seed and the image decide.

{"op": "image_random_crop", "column": "photo", "width": 0.8, "height": 0.8, "seed": 7}
"""

from PIL import Image
from pydantic import Field

from gristmill.images.steps.base import Chance, ImageOperation, ImageParameters, Operation


class RandomCrop(ImageParameters):
    """Parameters of ``image_random_crop``."""

    width: float = Field(0.8, gt=0, le=1, description="The share of the width that is kept.")
    height: float = Field(0.8, gt=0, le=1, description="The share of the height that is kept.")
    seed: int = Field(0, ge=0, le=2**63 - 1, description="Another seed crops at other places; the same one never does.")


def _make(step: RandomCrop) -> Operation:
    shares = (step.width, step.height)

    def crop(image: Image.Image, chance: Chance) -> Image.Image:
        width, height = (max(1, round(side * share)) for side, share in zip(image.size, shares, strict=True))
        generator = chance.generator()
        left, top = generator.randint(0, image.width - width), generator.randint(0, image.height - height)
        return image.crop((left, top, left + width, top + height))

    return crop


RANDOM_CROP = ImageOperation(
    "image_random_crop",
    RandomCrop,
    _make,
    description="Keeps a part of an image at a random place, which the seed and the bytes of the image decide.",
)
