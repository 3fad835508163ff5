"""The embedders of this installation, each with its settings."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from gristmill.bootstrap.images import Images
from gristmill.core.config import Settings
from gristmill.core.logs import get_logger
from gristmill.embeddings.batching import BatchLimits
from gristmill.embeddings.errors import EmbedderNotInstalled
from gristmill.embeddings.port import ImageProvider, Provider
from gristmill.embeddings.providers import hashing, static
from gristmill.embeddings.registry import EmbedderRegistry

log = get_logger()
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
# What those of images are called that need nothing but the extra.
_OF_IMAGES = ("image_hash", "image_layout")


def build_embedders(settings: Settings, images: Images | None) -> EmbedderRegistry:
    """Return the registry. What an embedder needs of ``settings`` becomes arguments of its constructor here.

    images: None where the extra ``gristmill[images]`` is not installed; its embedders then say so.
    """
    limits = BatchLimits()
    return EmbedderRegistry(
        {
            static.NAME: Provider(static.describe, partial(static.StaticEmbedder, limits)),
            hashing.NAME: Provider(hashing.describe, partial(hashing.HashingEmbedder, limits)),
            **_of_images(_model_folders(settings.images_models), images),
        }
    )


def _of_images(folders: dict[str, Path], images: Images | None) -> dict[str, ImageProvider]:
    if images is None:
        return {name: ImageProvider(*_missing(name)) for name in (*_OF_IMAGES, *(f"onnx_{one}" for one in folders))}
    from gristmill.images.embedders import layout, onnx, phash  # noqa: PLC0415 - Pillow is an extra

    reader = images.reader
    found = {
        phash.NAME: ImageProvider(phash.describe, partial(phash.HashEmbedder, reader), gives="bits"),
        layout.NAME: ImageProvider(layout.describe, partial(layout.LayoutEmbedder, reader)),
    }
    for folder_name, folder in folders.items():
        name = onnx.PREFIX + folder_name
        found[name] = ImageProvider(
            partial(onnx.describe, name, folder), partial(onnx.OnnxEmbedder, name, folder, reader)
        )
    return found


def _missing(name: str) -> tuple[Callable[[], NoReturn], Callable[[], NoReturn]]:
    def refuse() -> NoReturn:
        raise EmbedderNotInstalled(
            f"The embedder {name!r} needs the packages of images: pip install 'gristmill[images]'."
        )

    return refuse, refuse


def _model_folders(models: str) -> dict[str, Path]:
    """Return the folders of models by their names. What cannot be an embedder's name is logged."""
    if not models:
        return {}
    try:
        folders = sorted(one for one in Path(models).iterdir() if one.is_dir() and not one.name.startswith("."))
    except OSError as error:
        log.error("images.models_unreadable", folder=models, reason=str(error))
        return {}
    found = {}
    for folder in folders:
        if _NAME.fullmatch(folder.name):
            found[folder.name] = folder
        else:
            log.error("images.model_name", folder=str(folder), valid="lower-case letters, digits, _ and -, at most 40")
    return found
