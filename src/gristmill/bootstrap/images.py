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


@dataclass(frozen=True, slots=True)
class Images:
    """What other parts use of images. operations: the kinds of operations on pixels, by name."""

    reader: "ImageReader"
    operations: "dict[str, ImageOperation]"

    def step_kinds(self) -> "list[StepKind]":
        from gristmill.images.steps.base import step_kind  # noqa: PLC0415 - Pillow is an extra

        return [step_kind(operation, self.reader) for operation in self.operations.values()]


def build_images(settings: Settings) -> Images | None:
    """Return what there is for images; None where Pillow is not installed."""
    if find_spec("PIL") is None:
        return None
    from gristmill.images.reader import ImageReader  # noqa: PLC0415
    from gristmill.images.steps.random_crop import RANDOM_CROP  # noqa: PLC0415
    from gristmill.images.steps.resize import RESIZE  # noqa: PLC0415

    operations = {one.op: one for one in (RANDOM_CROP, RESIZE)}
    open_folder = None
    if settings.images_url:
        open_folder = partial(open_storage, settings, settings.images_url, settings.images_max_file_bytes)
    reader = ImageReader(open_folder, settings.images_max_file_bytes, settings.images_max_pixels)
    return Images(reader, operations)
