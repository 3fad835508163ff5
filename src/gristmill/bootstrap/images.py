"""Images of this installation, where the extra ``gristmill[images]`` is installed."""

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from gristmill.bootstrap.storage import open_storage
from gristmill.core.config import Settings

if TYPE_CHECKING:
    from gristmill.images.reader import ImageReader
    from gristmill.images.steps.base import ImageOperation
    from gristmill.transforms.spec import StepKind

EXTRA = "gristmill[images]"
# The steps that are there with the extra, known without it: a contract that names one is told what is missing.
IMAGE_STEPS = (
    "image_centre_crop",
    "image_flip",
    "image_grayscale",
    "image_info",
    "image_normalise",
    "image_pad",
    "image_random_crop",
    "image_resize",
    "image_rotate",
)


@dataclass(frozen=True, slots=True)
class Images:
    """What other parts use of images. operations: the kinds of operations on pixels, by name, within max_pixels."""

    reader: "ImageReader"
    operations: "dict[str, ImageOperation]"

    def step_kinds(self) -> "list[StepKind]":
        from gristmill.images.steps.base import step_kind  # noqa: PLC0415 - Pillow is an extra
        from gristmill.images.steps.info import info_kind  # noqa: PLC0415

        operations = [step_kind(operation, self.reader) for operation in self.operations.values()]
        return [*operations, info_kind(self.reader)]


def build_images(settings: Settings) -> Images | None:
    """Return what there is for images; None where Pillow is not installed."""
    if find_spec("PIL") is None:
        return None
    from gristmill.images.reader import ImageReader  # noqa: PLC0415

    open_folder = None
    if settings.images_url:
        open_folder = partial(open_storage, settings, settings.images_url, settings.images_max_file_bytes)
    reader = ImageReader(open_folder, settings.images_max_file_bytes, settings.images_max_pixels)
    return Images(reader, {one.op: one.within(settings.images_max_pixels) for one in _operations()})


def _operations() -> "tuple[ImageOperation, ...]":
    from gristmill.images.steps.centre_crop import CENTRE_CROP  # noqa: PLC0415 - Pillow is an extra
    from gristmill.images.steps.flip import FLIP  # noqa: PLC0415
    from gristmill.images.steps.grayscale import GRAYSCALE  # noqa: PLC0415
    from gristmill.images.steps.normalise import NORMALISE  # noqa: PLC0415
    from gristmill.images.steps.pad import PAD  # noqa: PLC0415
    from gristmill.images.steps.random_crop import RANDOM_CROP  # noqa: PLC0415
    from gristmill.images.steps.resize import RESIZE  # noqa: PLC0415
    from gristmill.images.steps.rotate import ROTATE  # noqa: PLC0415

    return CENTRE_CROP, FLIP, GRAYSCALE, NORMALISE, PAD, RANDOM_CROP, RESIZE, ROTATE
