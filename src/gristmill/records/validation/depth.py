"""How deep the text of a record nests, found without parsing it."""

from typing import Any

import numpy as np


def json_depth(raw: bytes) -> int:
    """Return how deep the brackets of ``raw`` nest, those inside strings not counted; no recursion, linear time."""
    opening = raw.count(b"{") + raw.count(b"[")
    if not opening or (opening == 1 and raw.lstrip()[:1] in (b"{", b"[")):
        return opening
    marks = np.frombuffer(raw, np.uint8)
    quotes = np.flatnonzero(marks == ord('"'))
    if b"\\" in raw:
        quotes = quotes[~_escaped(marks, quotes)]
    at = np.flatnonzero((marks == 0x5B) | (marks == 0x7B) | (marks == 0x5D) | (marks == 0x7D))
    at = at[np.searchsorted(quotes, at) % 2 == 0]
    if not len(at):
        return 0
    # "[" and "{" are 5B and 7B, their closing partners 5D and 7D: the bits 0x0F tell them apart.
    steps = np.where(marks[at] & 0x0F == 0x0B, 1, -1)
    return int(max(0, np.cumsum(steps).max()))


def _escaped(marks: Any, positions: Any) -> Any:
    """Say of each position whether an odd number of backslashes stands before it."""
    slash = marks == ord("\\")
    index = np.arange(len(marks), dtype=np.int64)
    last_other = np.maximum.accumulate(np.where(slash, -1, index))
    before = np.maximum(positions - 1, 0)
    run = np.where(slash[before], before - last_other[before], 0)
    return (run % 2 == 1) & (positions > 0)
