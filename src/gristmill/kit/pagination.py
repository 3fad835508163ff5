"""Page tokens: opaque, URL-safe cursors that carry the last values of a page and the query they belong to."""

import base64
import binascii
import hashlib
import json
from typing import Any


class BadPageToken(ValueError):
    """The token is not one of ours, or belongs to another query."""


def encode_page_token(values: list[Any], query: str) -> str:
    """Return a token for the page after ``values`` (JSON scalars) of ``query`` (any stable text form of the query)."""
    body = json.dumps([_digest(query), values], separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(body).decode().rstrip("=")


def decode_page_token(token: str, query: str) -> list[Any]:
    """Return the values in ``token``; raise BadPageToken if it is malformed or was made for another query."""
    try:
        body = json.loads(base64.urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4)))
        digest, values = body
    except (ValueError, binascii.Error, TypeError) as error:
        raise BadPageToken("the page token is malformed") from error
    if digest != _digest(query) or not isinstance(values, list):
        raise BadPageToken("the page token belongs to another query")
    return values


def _digest(query: str) -> str:
    return hashlib.sha256(query.encode()).hexdigest()[:16]
