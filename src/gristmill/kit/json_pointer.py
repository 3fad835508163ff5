"""JSON pointers (RFC 6901)."""

from collections.abc import Iterable


def escape_pointer(name: str) -> str:
    """Return ``name`` as a step of a pointer."""
    return name.replace("~", "~0").replace("/", "~1")


def pointer_to(location: Iterable[str | int]) -> str:
    """Return the pointer that takes these steps: names of members and indexes of items."""
    return "".join(f"/{escape_pointer(str(step))}" for step in location)
