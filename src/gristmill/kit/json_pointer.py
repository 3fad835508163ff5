"""JSON pointers (RFC 6901)."""


def escape_pointer(name: str) -> str:
    """Return ``name`` as a step of a pointer."""
    return name.replace("~", "~0").replace("/", "~1")
