"""The embedders as bootstrap makes them, for tests that embed without a process."""

from gristmill.bootstrap.embedders import build_embedders
from gristmill.bootstrap.images import build_images
from gristmill.core.config import Settings

registry = build_embedders(Settings(), build_images(Settings()))
