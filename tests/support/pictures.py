"""Tiny images as records have them: base64 of PNGs, in each mode, and one that begins as a PNG does and is none."""

import base64

from gristmill.images.steps.examples import picture

IMAGES = [
    picture("ff0000 00ff00 0000ff / 102030 405060 708090"),
    picture("00 40 80 / ff 20 60"),
    picture("ff000000 00ff0080 / 0000ffff 80808001 / 10203040 fffefdfc"),
    picture("7f"),
    base64.b64encode(b"\x89PNG\r\n\x1a\n and no more").decode(),
]
