"""Errors of images.

GristmillError
├── Conflict ── NoImageFolder   no image folder is configured, and a record names an image by its path

BadImage is no such error: it says what is wrong with the image of one record, which is all that it ends.
"""

from gristmill.core.errors import Conflict


class NoImageFolder(Conflict):
    code = "no_image_folder"
    title = "No image folder is configured"


class BadImage(Exception):
    """An image that cannot be used. code: stable, as violations have it. reason: a clause without a subject."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
