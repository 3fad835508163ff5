"""Names of files: parts joined by slashes that are harmless on every system and can never lead out of the storage."""

import re

from gristmill.storage.errors import UnsafeName

# What a name of S3 may have is 1,024 bytes, prefix included; of a part on most file systems 255.
LONGEST_NAME = 800
LONGEST_PART = 200
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)( *\..*)?", re.IGNORECASE)
_FORBIDDEN = frozenset('\\:*?"<>|')


def parts_of(name: str) -> tuple[str, ...]:
    """Return the parts of a name. Raises UnsafeName for whatever is not plainly a path below the storage.

    That is: an absolute path, a part that is empty, ``.`` or ``..``, begins with a dot (those are the storage's own) or
    ends with a dot or space, control characters, characters and names that Windows gives a meaning, and what is longer
    than S3 or a file system takes. The members of an archive are checked by the same rules.
    """
    parts = tuple(name.split("/"))
    reason = next((found for part in parts if (found := _wrong(part))), "")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        size, reason = 0, "it has half of a surrogate pair"
    if size > LONGEST_NAME:
        reason = f"it has {size} bytes, and at most {LONGEST_NAME} are allowed"
    if reason:
        raise UnsafeName(f"The name {name[:80]!r} is not safe for a file: {reason}")
    return parts


def _wrong(part: str) -> str:
    """Return what is wrong with a part of a name, empty for nothing."""
    if part in ("", ".", ".."):
        return f"{part!r} is no part of a name"
    if part[0] in ". " or part[-1] in ". ":
        return f"{part[:40]!r} begins with a dot or space, or ends with one"
    if not part.isprintable() or not _FORBIDDEN.isdisjoint(part):
        return f"{part[:40]!r} has a character that names of files may not have"
    if _RESERVED.fullmatch(part):
        return f"{part[:40]!r} is a device on some systems"
    if len(part.encode("utf-8", "surrogatepass")) > LONGEST_PART:
        return f"a part of it is longer than {LONGEST_PART} bytes"
    return ""
