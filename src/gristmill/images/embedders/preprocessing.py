"""What a model wants of an image before it sees it: the file ``preprocessor_config.json`` of Hugging Face.

Source: the image processors of https://github.com/huggingface/transformers, whose files these are. The steps are done
in their order: resize, centre crop, rescale, normalise.
"""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gristmill.core.errors import Invalid

# Members that say nothing of pixels, or what is done anyway.
_IGNORED = (
    "image_processor_type", "feature_extractor_type", "processor_class", "do_convert_rgb", "_valid_processor_keys",
    "data_format", "input_data_format", "return_tensors",
)  # fmt: skip
_MOST_SIDE = 4096


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Sides(_Strict):
    """A size: both sides, or how long the shorter one is to be."""

    height: int | None = Field(None, ge=1, le=_MOST_SIDE)
    width: int | None = Field(None, ge=1, le=_MOST_SIDE)
    shortest_edge: int | None = Field(None, ge=1, le=_MOST_SIDE)

    @model_validator(mode="after")
    def _one_of_both(self) -> "Sides":
        if (self.shortest_edge is None) == (self.height is None or self.width is None):
            raise ValueError("a size is shortest_edge, or height and width")
        return self


class Preprocessing(_Strict):
    """The file. A number as ``size`` is the shorter side where a crop follows, and both sides otherwise."""

    do_resize: bool
    size: Sides | None = None
    resample: Literal[0, 1, 2, 3, 4, 5] | None = None
    crop_pct: float | None = Field(None, gt=0, le=1)
    do_center_crop: bool = False
    crop_size: Sides | None = None
    do_rescale: bool = True
    rescale_factor: float = Field(1 / 255, gt=0)
    do_normalize: bool
    image_mean: tuple[float, float, float] | None = None
    image_std: tuple[float, float, float] | None = None
    do_pad: Literal[False] = False

    @model_validator(mode="before")
    @classmethod
    def _plain(cls, body: Any) -> Any:
        if not isinstance(body, dict):
            raise ValueError("the file is not a JSON object")
        found = {name: value for name, value in body.items() if name not in _IGNORED}
        if found.get("data_format", "channels_first") != "channels_first":
            raise ValueError("data_format must be channels_first")
        if isinstance(found.get("crop_size"), int):
            found["crop_size"] = {"height": found["crop_size"], "width": found["crop_size"]}
        if isinstance(found.get("size"), int):
            side = found["size"]
            shorter = found.get("do_center_crop") or "crop_pct" in found
            found["size"] = {"shortest_edge": side} if shorter else {"height": side, "width": side}
        return found

    @model_validator(mode="after")
    def _complete(self) -> "Preprocessing":
        needs = {
            "size": self.do_resize,
            "resample": self.do_resize,
            "crop_size": self.do_center_crop,
            "image_mean": self.do_normalize,
            "image_std": self.do_normalize,
        }
        missing = [name for name, needed in needs.items() if needed and getattr(self, name) is None]
        if missing:
            raise ValueError(f"these members are missing: {', '.join(missing)}")
        if self.crop_size is not None and self.crop_size.height is None:
            raise ValueError("crop_size is height and width")
        if self.crop_pct is not None and (self.size is None or self.size.shortest_edge is None):
            raise ValueError("crop_pct needs a size with shortest_edge")
        if self.image_std is not None and not all(self.image_std):
            raise ValueError("image_std has a zero")
        return self

    def pixels(self, image: Image.Image) -> NDArray[np.float32]:
        """Return what the model gets of an image in RGB: float32 of shape (3, height, width)."""
        if self.do_resize:
            image = self._resized(image)
        if self.do_center_crop and self.crop_size is not None:
            image = _cropped(image, self.crop_size.width or 0, self.crop_size.height or 0)
        values = np.asarray(image, np.float32)
        if self.do_rescale:
            values = values * np.float32(self.rescale_factor)
        if self.do_normalize:
            mean, deviation = np.array(self.image_mean, np.float32), np.array(self.image_std, np.float32)
            values = (values - mean) / deviation
        return np.ascontiguousarray(values.transpose(2, 0, 1), np.float32)

    def _resized(self, image: Image.Image) -> Image.Image:
        assert self.size is not None
        resample = Image.Resampling(self.resample or 0)
        if self.size.shortest_edge is None:
            return image.resize((self.size.width or 0, self.size.height or 0), resample)
        side = self.size.shortest_edge
        if self.crop_pct is None:
            return image.resize(_with_shorter(image, side), resample)
        # As the image processor of ConvNeXt: from 384 pixels on nothing is cut off.
        if side >= 384:
            return image.resize((side, side), resample)
        return _cropped(image.resize(_with_shorter(image, int(side / self.crop_pct)), resample), side, side)


def read_preprocessing(text: bytes, place: str) -> Preprocessing:
    """Return what the file ``place`` says. Raises Invalid, which names each member that is wrong."""
    try:
        return Preprocessing.model_validate_json(text)
    except ValidationError as error:
        mistakes = []
        for one in error.errors(include_url=False)[:10]:
            where = ".".join(str(part) for part in one["loc"])
            said = one["msg"].removeprefix("Value error, ")
            said = "this member is not known" if one["type"] == "extra_forbidden" else said
            mistakes.append(f"{where}: {said}" if where else said)
        raise Invalid(f"{place}: {'; '.join(mistakes)}") from error


def _with_shorter(image: Image.Image, side: int) -> tuple[int, int]:
    width, height = image.size
    if width <= height:
        return side, min(int(side * height / width), _MOST_SIDE)
    return min(int(side * width / height), _MOST_SIDE), side


def _cropped(image: Image.Image, width: int, height: int) -> Image.Image:
    """Return the middle; what lies beyond a smaller image is black."""
    left, top = (image.width - width) // 2, (image.height - height) // 2
    return image.crop((left, top, left + width, top + height))
