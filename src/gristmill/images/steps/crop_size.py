"""The size that a crop leaves: shares of the sides, or pixels."""

from typing import Literal

from pydantic import Field

from gristmill.images.steps.base import MOST_SIDE, ImageParameters, Size
from gristmill.transforms.schema_rules import refuse


class CropParameters(ImageParameters):
    """Root of the parameters of crops."""

    width: float = Field(
        0.8, gt=0, le=MOST_SIDE, description="The width that is kept: a share of it, or pixels, as `unit` says."
    )
    height: float = Field(0.8, gt=0, le=MOST_SIDE, description="The height that is kept, in the same way.")
    unit: Literal["share", "pixels"] = Field(
        "share",
        description=(
            "`share`: width and height are shares from 0 to 1 of those of the image. `pixels`: whole numbers of "
            "pixels; a side that is shorter stays as it is."
        ),
    )


def check_crop(step: CropParameters) -> None:
    """Raise StepRefused for what is no share, or no number of pixels."""
    for name, value in (("width", step.width), ("height", step.height)):
        if step.unit == "share" and value > 1:
            raise refuse(name, "out_of_range", f"{name} is {value:g}, which is no share from 0 to 1; is unit pixels?")
        if step.unit == "pixels" and value != int(value):
            raise refuse(name, "out_of_range", f"{name} is {value:g}, which is no whole number of pixels")


def cropped_size(step: CropParameters, before: Size) -> Size:
    """Return the size that is left of ``before``, at least one pixel a side."""
    width, height = (
        max(1, round(side * kept)) if step.unit == "share" else min(side, int(kept))
        for side, kept in zip(before, (step.width, step.height), strict=True)
    )
    return width, height
