"""The text of HTML, without its tags. Everything takes time that grows with the length of the text alone."""

import html
import html.entities
import re

import pyarrow as pa
import pyarrow.compute as pc

# What they hold is no text. One after the other: where one of a kind is not closed, no later one of it is, so that the
# rest of a text is looked through once.
_UNSEEN = (
    r"(?is)<!--.*?-->",
    r"(?is)<script\b[^>]*>.*?</script\s*>",
    r"(?is)<style\b[^>]*>.*?</style\s*>",
)
_IN_TAG = r"""(?:"[^"]*"|'[^']*'|[^'"<>])*"""
# Elements that begin on a line of their own: without a blank, words beside them would become one.
_ELEMENTS = (
    "address article aside blockquote br dd div dl dt figcaption figure footer form h[1-6] header hr li main nav ol "
    "option p pre section table tbody td tfoot th thead title tr ul"
)
_BLOCK = rf"(?i)</?(?:{_ELEMENTS.replace(' ', '|')})(?:[\s/]{_IN_TAG})?>"
_TAG = rf"(?i)</?[a-z]{_IN_TAG}>|<[!?]{_IN_TAG}>"
_REFERENCE = re.compile("&(#[0-9]{1,7};|#[xX][0-9a-fA-F]{1,6};|[A-Za-z][A-Za-z0-9]{1,31};)")


def without_tags(texts: pa.Array) -> pa.Array:
    """Return the texts without comments, scripts, styles and tags, and with the characters that references stand for.

    A tag that begins a line, such as <p> or <br>, leaves a blank. A < that opens no tag stays.
    """
    if pc.any(pc.match_substring(texts, "<")).as_py():
        for pattern, left in (*((one, " ") for one in _UNSEEN), (_BLOCK, " "), (_TAG, "")):
            texts = pc.replace_substring_regex(texts, pattern, left)
    if pc.any(pc.match_substring(texts, "&")).as_py():
        texts = pa.array([None if text is None else _unescape(text) for text in texts.to_pylist()], pa.string())
    return texts


def _unescape(text: str) -> str:
    return _REFERENCE.sub(_character, text) if "&" in text else text


def _character(found: re.Match[str]) -> str:
    # Whole names alone: unescape would read the beginning of a longer one.
    return html.unescape(found[0]) if found[1][0] == "#" else html.entities.html5.get(found[1], found[0])
