"""Pages of one ranking: where a page ended, in a token that is good for the same search only.

All pages are cut from the ranking of the ``k`` best, which is computed again for each page with the same effort, so
that all pages are what one large answer would have been. A page begins after the place (distance or score) of the last
hit of the page before: what is written meanwhile may be missing, and an untouched record never comes twice.
"""

import json
import math
import uuid
from typing import Any, NamedTuple

from gristmill.core.page_tokens import bad_page_token, read_page_token
from gristmill.kit.pagination import encode_page_token

# What does not change the ranking, only the cut.
_CUT = ("page_size", "page_token", "explain")


class Last(NamedTuple):
    """The last hit of a page: its place in the ranking, and what decides between equal ones.

    visits: those of the effort with which the ranking was made, for the next page to be cut from the same one.
    """

    place: float
    id: int
    visits: str = ""


def identity(dataset_id: uuid.UUID, body: dict[str, Any]) -> str:
    """Return the text that a token is bound to: the dataset and everything of the search that makes its ranking."""
    asked = {name: value for name, value in body.items() if name not in _CUT and value is not None}
    return json.dumps(["search", str(dataset_id), asked], sort_keys=True)


def encode(last: Last, identity: str) -> str:
    return encode_page_token(list(last), identity)


def decode(token: str, identity: str) -> Last:
    """Return the place in ``token``. Raises Malformed: tokens are not signed, so anything may be in one."""
    last = Last(*read_page_token(token, identity, float, int, str, pointer="/page_token"))
    if not math.isfinite(last.place) or abs(last.id) >= 2**63:
        raise bad_page_token(pointer="/page_token")
    return last
