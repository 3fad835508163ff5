"""SQL identifiers: which names a user may choose, and how a name is quoted."""

import re

_NAME = re.compile(r"[a-z][a-z0-9_]{0,47}")


def is_name(text: str) -> bool:
    """Say whether ``text`` may name a dataset or a field: a lower-case letter, then up to 47 of a-z, 0-9, _.

    48 characters leave room for the suffixes of index names within Postgres' 63 bytes.
    """
    return _NAME.fullmatch(text) is not None


def quote(name: str) -> str:
    """Return ``name`` as a quoted SQL identifier."""
    if "\0" in name:
        raise ValueError("an SQL identifier cannot hold a NUL character")
    return '"' + name.replace('"', '""') + '"'
