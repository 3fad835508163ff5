"""The formats of images: their names, suffixes and media types. Needs no Pillow."""

from typing import Literal

# What is written; GIF is read only.
Format = Literal["jpeg", "png", "webp"]
SUFFIXES: dict[str, str] = {"jpeg": "jpg", "png": "png", "webp": "webp", "gif": "gif"}
MEDIA_TYPES: dict[str, str] = {"jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp", "gif": "image/gif"}
