"""Page tokens as requests bring them: a bad one is a Malformed that says where it stands."""

import uuid
from typing import Any

from gristmill.core.errors import Malformed, Violation
from gristmill.kit.pagination import BadPageToken, decode_page_token

MALFORMED = "the page token is malformed"


def read_page_token(token: str, query: str, *types: type, pointer: str = "/query/page_token") -> list[Any]:
    """Return the values in ``token``, which must be of ``types`` if any are given.

    query: the text that the token was bound to. pointer: where it stands in the request. Raises Malformed: tokens are
    not signed, so anything may be in one.
    """
    try:
        values = decode_page_token(token, query)
    except BadPageToken as error:
        raise bad_page_token(str(error), pointer) from error
    if types and [type(value) for value in values] != list(types):
        raise bad_page_token(pointer=pointer)
    return values


def read_id_token(token: str | None, query: str) -> uuid.UUID | None:
    """Return the id in a token of a list that is ordered by id; None for the first page. Raises Malformed."""
    if not token:
        return None
    try:
        return uuid.UUID(*read_page_token(token, query, str))
    except ValueError:
        raise bad_page_token() from None


def bad_page_token(reason: str = MALFORMED, pointer: str = "/query/page_token") -> Malformed:
    """Return the error to raise."""
    return Malformed(f"page_token: {reason}", [Violation(pointer, "bad_page_token", reason, field="page_token")])
