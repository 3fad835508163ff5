"""Entity tags (RFC 9110, 8.8.3), alone and in the lists that conditional requests carry."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_TAG = re.compile(r'(W/)?"([\x21\x23-\x7e\x80-\xff]*)"')
_BETWEEN = re.compile(r"[ \t]*(?:,[ \t]*)+")


@dataclass(frozen=True, slots=True)
class Tag:
    """One entity tag. value: what stands between its quotes."""

    value: str
    weak: bool = False

    def __str__(self) -> str:
        return f'{"W/" if self.weak else ""}"{self.value}"'


def read_tags(header: str) -> tuple[Tag, ...] | None:
    """Return the tags of an If-Match or If-None-Match header; None for ``*``, which stands for any.

    Raises ValueError for what is neither.
    """
    if header.strip(" \t") == "*":
        return None
    # Empty members of a list mean nothing.
    return tuple(_tags(header.strip(" \t,")))


def _tags(text: str) -> Iterator[Tag]:
    place = 0
    while True:
        found = _TAG.match(text, place)
        if found is None:
            raise ValueError(f"there is no entity tag at character {place}")
        yield Tag(found[2], found[1] is not None)
        if found.end() == len(text):
            return
        between = _BETWEEN.match(text, found.end())
        if between is None:
            raise ValueError(f"there is no comma at character {found.end()}")
        place = between.end()
