"""Conditional requests (RFC 9110, 13): If-Match and If-None-Match, and the refusal of conditions that a call ignores.

A tag is that of a version; an answer that travels compressed has it with the name of the compression behind it, as two
answers of different bytes may not share a strong tag.
"""

import re
from collections.abc import Collection, Mapping

from starlette.requests import Request

from gristmill.core.errors import Invalid, Violation
from gristmill.core.http.parameters import bad_header
from gristmill.kit.entity_tags import Tag, read_tags

CODED = re.compile(r"--(gzip|zstd)$")
# Passed over in silence, each of these would let something happen that the client asked not to happen.
_GUARDS = ("if-match", "if-unmodified-since")
# On a read these only save bytes: an answer in full is right as well.
_SAVERS = ("if-none-match", "if-modified-since")
_ALL = frozenset(name.encode() for name in _GUARDS + _SAVERS)
_VALID = 'entity tags as ETag gives them, in their quotes, such as "41.0.1"; or *'


def if_match(http: Request) -> tuple[str, ...] | None:
    """Return the values of the strong tags of If-Match, one of which must be that of what is there.

    None without the header, and for ``*``: whatever is there. Empty where all tags are weak: those never match. Raises
    Invalid.
    """
    tags = _tags(http, "If-Match")
    return None if tags is None else tuple(CODED.sub("", tag.value) for tag in tags if not tag.weak)


def not_modified(http: Request, tag: Tag) -> Mapping[str, str] | None:
    """Return the headers of a 304, or None where If-None-Match does not name ``tag``. Raises Invalid."""
    if "if-none-match" not in http.headers:
        return None
    tags = _tags(http, "If-None-Match")
    if tags is None:
        return {"ETag": str(tag)}
    # What the client has is said back to it as it named it: compressed or not, it is the same version.
    named = [one for one in tags if CODED.sub("", one.value) == tag.value]
    return {"ETag": str(named[0])} if named else None


def check_conditions(http: Request, declared: Collection[str]) -> None:
    """Refuse conditions of a request that its call has not ``declared`` and would ignore. Raises Invalid."""
    if _ALL.isdisjoint([name for name, _ in http.scope["headers"]]):
        return
    headers = http.headers
    refused = _GUARDS if http.method in ("GET", "HEAD") else _GUARDS + _SAVERS
    for name in refused:
        if name in headers and name not in declared:
            shown = "-".join(part.capitalize() for part in name.split("-"))
            valid = [one for one in _GUARDS + _SAVERS if one in declared]
            hint = f"; it takes {', '.join(valid)}" if valid else ""
            reason = f"This call cannot be made conditional by {shown}{hint}"
            raise Invalid(reason, [Violation(f"/header/{shown}", "unsupported_header", reason, field=shown)])


def _tags(http: Request, name: str) -> tuple[Tag, ...] | None:
    lines = http.headers.getlist(name)
    if not lines:
        return None
    given = ", ".join(lines)
    try:
        return read_tags(given)
    except ValueError:
        raise bad_header(name, given, _VALID) from None
