"""Paths of images: those that are taken, and texts that are nearly so."""

from hypothesis import strategies as st

from gristmill.storage.errors import UnsafeName
from gristmill.storage.names import parts_of

_ODD_PARTS = (
    "a", "a.png", "A_b-c.d", "größe", "日本", "e\u0301", "a b", "a'b", "100%", "#1", "~a", "-", "_", "$x",
    "com", "com10", "conx", "con", "CON", "Aux.png", "nul .x", "lpt1", "com¹.jpg", "conin$",
    "..", ".", "", ".a", "a.", " a", "a ", "a\\b", "C:", "a*b", "a?", 'a"b', "<a>", "a|b", "a\nb", "a\tb",
    "\u200b", "\u202e", "\ufeff", "\u00a0", "a" * 62, "a" * 63, "a" * 200, "a" * 201, "é" * 100, "é" * 101,
)  # fmt: skip
_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=8)
_parts = st.sampled_from(_ODD_PARTS) | _text
# Any text that may stand in a request: safe, nearly safe, and not at all.
ANY_PATHS = (
    st.lists(_parts, min_size=1, max_size=10).map("/".join)
    | st.sampled_from(["/a", "a//b", "a/", "../a", "a/../b", "/".join(["a" * 99] * 8), "/".join(["a" * 101] * 8)])
).filter(bool)


def is_safe(path: str) -> bool:
    """Say whether a path is one that a record may have."""
    try:
        parts_of(path)
    except UnsafeName:
        return False
    return True


_plain = st.from_regex(r"[a-z0-9_]{1,9}(/[A-Za-z0-9]{1,9}){0,3}\.jpg", fullmatch=True)
SAFE_PATHS = (ANY_PATHS | _plain).filter(is_safe)
