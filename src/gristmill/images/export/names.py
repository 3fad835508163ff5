"""Names of the files of an export: two keys never have the same one, not even where capitals are the same as others."""

import hashlib
import json
import re
from typing import Any

from gristmill.datasets.contract import Contract
from gristmill.datasets.keys import show_key
from gristmill.storage.errors import UnsafeName
from gristmill.storage.names import parts_of

IMAGES = "images"
# Bytes of a name that is shown whole; the suffix comes behind.
_LONGEST = 150
_KEPT = 90
_UNSAFE = re.compile(rb"[^A-Za-z0-9._-]")
_CAPITALS = re.compile(r"[A-Z]")
_BETWEEN = "@"


def key_text(contract: Contract, key: tuple[Any, ...]) -> str:
    """Return a key as it stands, percent-decoded, in the path of its record."""
    return _text(show_key(contract, key))


def file_stem(contract: Contract, key: tuple[Any, ...]) -> str:
    """Return the name of the file of a record, without its suffix.

    Letters, digits, ``.``, ``_`` and ``-`` stand for themselves, all else is percent-encoded; values of a key of
    several fields are joined by ``@``. A name with capitals ends in ``~`` and a number that says which letters they
    are; a long one is cut, and ends in ``~~`` and a checksum of the key.
    """
    shown = show_key(contract, key)
    values = shown if len(contract.key) > 1 else [shown]
    stem = _BETWEEN.join(_escaped(_text(value)) for value in values)
    if len(stem) > _LONGEST:
        digest = hashlib.blake2b(key_text(contract, key).encode(), digest_size=16).hexdigest()
        return f"{stem[:_KEPT]}~~{digest}"
    if _CAPITALS.search(stem):
        letters = [character.isupper() for character in stem if character.isalpha()]
        mask = sum(1 << place for place, capital in enumerate(letters) if capital)
        stem = f"{stem}~{mask:x}"
    try:
        parts_of(f"{stem}.jpg")
    except UnsafeName:
        # It begins with a dot, or is called as a device is.
        stem = f"%{stem.encode()[0]:02x}{stem[1:]}"
    return stem


def _escaped(text: str) -> str:
    # An empty value is a percent sign, which stands nowhere else without two digits.
    return _UNSAFE.sub(lambda found: b"%%%02x" % found.group()[0], text.encode()).decode() or "%"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
