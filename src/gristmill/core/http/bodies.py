"""Bodies of requests: what they say they are, their blocks as they come in, and JSON in them and in parameters."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

from pydantic_core import from_json
from starlette.requests import ClientDisconnect, Request

from gristmill.core.errors import Invalid, Malformed, TooLarge, UnsupportedMedia, Violation
from gristmill.core.logs import get_logger

log = get_logger()
JSON = "application/json"
CSV = "text/csv"
ARROW = "application/vnd.apache.arrow.stream"
FORM = "multipart/form-data"
# Methods whose calls take no body.
BODYLESS = frozenset({"GET", "HEAD", "DELETE"})
# What a client may send that has nothing to say.
_NOTHING = (b"", b"{}")
_SHOWN = 80
# Parameters of media types beside charset.
_PARAMETERS = {CSV: ("header",), FORM: ("boundary",)}


def media_type_of(http: Request, supported: Sequence[str]) -> str:
    """Return the media type of a body, which is one of ``supported``. Raises UnsupportedMedia that lists them."""
    return check_media_type(http.headers.get("content-type", ""), supported)


def check_media_type(header: str, supported: Sequence[str]) -> str:
    """Return the media type that a Content-Type header names, as ``media_type_of`` does."""
    _, *parameters = header.split(";")
    name = media_type_name(header)
    if name not in supported:
        given = f"The Content-Type {name[:80]!r} is not supported here" if name else "The Content-Type is missing"
        raise UnsupportedMedia(f"{given}; valid are: {', '.join(supported)}", supported=list(supported))
    for parameter in filter(str.strip, parameters):
        key, _, value = parameter.partition("=")
        key, value = key.strip().lower(), value.strip().strip('"').lower()
        if key == "charset" and value not in ("utf-8", "utf8", "us-ascii"):
            how = ", or name it by the parameter encoding" if name == CSV else ""
            raise UnsupportedMedia(f"The charset {value[:80]!r} is not supported: send UTF-8{how}")
        # Passed over in silence, it would mean something else than the client thinks.
        valid = ("charset", *_PARAMETERS.get(name, ()))
        if key not in valid or (key == "header" and value != "present"):
            shown = ", ".join("header=present" if one == "header" else one for one in valid)
            raise UnsupportedMedia(f"{name} with {parameter.strip()[:80]!r} is not supported; valid is: {shown}")
    return name


def media_type_name(header: str) -> str:
    """Return the media type that a Content-Type header names, without its parameters."""
    return header.split(";")[0].strip().lower()


async def blocks(http: Request) -> AsyncIterator[bytes]:
    """Yield the body as it comes in. Raises Malformed, which nobody hears, when the client hangs up before its end."""
    try:
        async for block in http.stream():
            yield block
    except ClientDisconnect as error:
        log.info("request.aborted", method=http.method, path=http.scope["path"])
        raise Malformed("The connection was closed before the body was complete") from error


async def read_json(http: Request, limit: int, what: str) -> bytes:
    """Return a body of JSON, unparsed, as ``read_body`` does."""
    return (await read_body(http, [JSON], limit, what))[1]


async def read_body(http: Request, supported: Sequence[str], limit: int, what: str) -> tuple[str, bytes]:
    """Return the media type of a body, one of ``supported``, and the body.

    Raises UnsupportedMedia before it is read, TooLarge as soon as it is longer.
    """
    media_type = media_type_of(http, supported)
    encoding = http.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise UnsupportedMedia(f"{what} is sent as it is: the Content-Encoding {encoding[:80]!r} is for records alone")
    body = bytearray()
    async for block in blocks(http):
        body += block
        if len(body) > limit:
            raise TooLarge(f"{what} has at most {limit} bytes", limit=limit)
    return media_type, bytes(body)


async def refuse_body(http: Request) -> None:
    """Refuse a body that the call would pass over; as a dependency, of one whose method has bodies. Raises Invalid.

    Passed over in silence, the filter that somebody sends to truncate would not keep a single record.
    """
    headers = http.headers
    if headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers:
        return
    start = b""
    async for block in blocks(http):
        start += block
        if len(start) > _SHOWN:
            break
    if len(start) > _SHOWN or start.strip() not in _NOTHING:
        shown = start[:_SHOWN].decode(errors="replace")
        reason = f"This call takes no body, and would pass over what is sent: {shown!r}"
        raise Invalid(reason, [Violation("", "unexpected_body", reason)])


def parse_json(text: bytes | str, what: str = "The body", pointer: str = "", nan: bool = False) -> Any:
    """Return the JSON value in ``text``. Raises Malformed, and Invalid where it nests deeper than any value may.

    what: how a message begins. pointer: where the text stands in the request. nan: takes NaN and Infinity, for a caller
    that refuses them with their places.
    """
    try:
        return from_json(text, allow_inf_nan=nan)
    except ValueError as error:
        field = pointer.rpartition("/")[2] or None
        if "recursion limit" in str(error):
            reason = f"{what} is nested too deeply to be read"
            raise Invalid(reason, [Violation(pointer, "too_deep", reason, field=field)]) from error
        reason = f"{what} is not JSON: {error}"
        raise Malformed(reason, [Violation(pointer, "malformed", reason, field=field)]) from error
