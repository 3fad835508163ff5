"""Blanks of Unicode, as Python's ``str.isspace`` has them."""

import sys

import pyarrow as pa
import pyarrow.compute as pc

BLANKS = "".join(character for character in map(chr, range(sys.maxunicode + 1)) if character.isspace())


def trim(texts: pa.Array) -> pa.Array:
    """Return the texts without blanks at both ends, as ``str.strip`` does."""
    return pc.utf8_trim(texts, characters=BLANKS)
