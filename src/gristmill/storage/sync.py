"""Making many files durable at once: syncfs(2), which Python does not have."""

import ctypes
import os
from typing import Any


def _find() -> Any:
    try:
        found = ctypes.CDLL(None, use_errno=True).syncfs
    except (OSError, AttributeError):
        return None
    found.argtypes = (ctypes.c_int,)
    return found


_SYNCFS = _find()


def sync_file_system(descriptor: int) -> None:
    """Return once all that was written to the file system of an open file or folder is durable. Raises OSError.

    Systems without syncfs sync all of their file systems. Linux tells of failed writes since 5.8.
    """
    if _SYNCFS is None:
        os.sync()
    elif _SYNCFS(descriptor):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
