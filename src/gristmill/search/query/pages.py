"""Pages of one ranking: where a page ended, in a token that is good for the same search only.

All pages are cut from the ranking of the ``k`` best, which is computed again for each page with the same ``ef``, so
that all pages are what one large answer would have been. A page begins after the place (distance or score) of the last
hit of the page before: what is written meanwhile may be missing, and an untouched record never comes twice.
"""

import json
import math
import uuid
from typing import Any, NamedTuple

from gristmill.core.errors import Malformed, Violation
from gristmill.kit.pagination import BadPageToken, decode_page_token, encode_page_token

# What does not change the ranking, only the cut.
_CUT = ("page_size", "page_token", "explain")


class Last(NamedTuple):
    """The last hit of a page: its place in the ranking, and what decides between equal ones."""

    place: float
    id: int


def identity(dataset_id: uuid.UUID, body: dict[str, Any]) -> str:
    """Return the text that a token is bound to: the dataset and everything of the search that makes its ranking."""
    asked = {name: value for name, value in body.items() if name not in _CUT and value is not None}
    return json.dumps(["search", str(dataset_id), asked], sort_keys=True)


def encode(last: Last, identity: str) -> str:
    return encode_page_token(list(last), identity)


def decode(token: str, identity: str) -> Last:
    """Return the place in ``token``. Raises Malformed: tokens are not signed, so anything may be in one."""
    try:
        values = decode_page_token(token, identity)
        if [type(value) for value in values] != [float, int] or not _fits(*values):
            raise BadPageToken("the page token is malformed")
    except BadPageToken as error:
        place = Violation("/page_token", "bad_page_token", str(error), field="page_token")
        raise Malformed(f"page_token: {error}", [place]) from error
    return Last(values[0], values[1])


def _fits(place: float, id_: int) -> bool:
    return math.isfinite(place) and abs(id_) < 2**63
