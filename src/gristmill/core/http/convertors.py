"""Path parameters that the framework has no convertor for."""

from collections.abc import Mapping
from typing import Any

from starlette.convertors import StringConvertor, register_url_convertor


class WholeConvertor(StringConvertor):
    """The rest of a path, whatever its characters: slashes, and line ends, where ``path`` ends or does not match."""

    regex = r"(?s:.*)"


register_url_convertor("whole", WholeConvertor())
# How a path names the key of a record, which may be any text.
KEY = "{key:whole}"
# How the paths of what belongs to a record end, as the client wrote them; a key that ends so has its slash encoded.
PARTS = (b"/image",)


def names_part(scope: Mapping[str, Any]) -> bool:
    """Say whether a path is that of a part of a record, and not of a record whose key looks so once it is decoded."""
    raw = scope.get("raw_path")
    return raw is not None and raw.endswith(PARTS)
