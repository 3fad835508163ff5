"""The form of a search by an image: the file as the part ``image``, all else as the part ``query``, which is JSON."""

import base64
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gristmill.core.errors import Invalid, Malformed, UnsupportedMedia, Violation
from gristmill.core.http.bodies import parse_json
from gristmill.datasets.describe import shorten

_PARTS = ("image", "query")
# Of a part's head: its few lines have the names of the part and of the file.
_MAX_HEADERS, _MAX_HEADER_BYTES = 16, 8 * 1024


def read_form(raw: bytes, content_type: str) -> Any:
    """Return the search in a form as its JSON body would have it, the image in base64.

    Raises UnsupportedMedia without a boundary, Malformed for what is no such form.
    """
    parts = _Parts(content_type)
    parts.read(raw)
    query: Any = {}
    if "query" in parts.found:
        query = parse_json(bytes(parts.found["query"]), "The part query", "/query", nan=True)
    if not isinstance(query, dict):
        raise Invalid("The part query is not a search", [Violation("/query", "wrong_type", "It is not a JSON object")])
    if "image" not in parts.found:
        raise _refuse("missing", "The form has no part image, which is the file to search by", "/image")
    if query.get("image") is not None:
        raise _refuse("exactly_one", "The image is given twice: as a part, and as a member of query", "/image")
    return {**query, "image": base64.b64encode(parts.found["image"]).decode()}


class _Parts:
    """The parts of a form, by their names."""

    def __init__(self, content_type: str) -> None:
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not boundary:
            raise UnsupportedMedia(f"The Content-Type {content_type[:80]!r} has no boundary")
        self.found: dict[str, bytearray] = {}
        self._head: list[list[bytes]] = []
        self._now = bytearray()
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._head.clear,
                    "on_header_begin": lambda: self._head.append([b"", b""]),
                    "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
                    "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
                    "on_headers_finished": self._begin,
                    "on_part_data": lambda data, start, end: self._now.extend(data[start:end]),
                    "on_end": self._end,
                },
                max_header_count=_MAX_HEADERS,
                max_header_size=_MAX_HEADER_BYTES,
            )
        except FormParserError as error:
            raise UnsupportedMedia(f"The Content-Type is not supported: {error}") from error

    def read(self, raw: bytes) -> None:
        """Raises Malformed for a form that is broken off, or has other parts."""
        try:
            self._parser.write(raw)
        except FormParserError as error:
            raise _refuse("malformed", f"The body is not a form: {error}") from error
        if not self._ended:
            raise _refuse("truncated", "The form is broken off: its last boundary is not there")

    def _add(self, index: int, data: bytes) -> None:
        self._head[-1][index] += data

    def _begin(self) -> None:
        head = {name.decode("latin-1").strip().lower(): value.decode("latin-1").strip() for name, value in self._head}
        written = head.get("content-transfer-encoding", "binary").lower()
        if written not in ("binary", "7bit", "8bit"):
            reason = f"The Content-Transfer-Encoding {written[:80]!r} is not supported: send the parts as they are"
            raise UnsupportedMedia(reason)
        options = parse_options_header(head.get("content-disposition"))[1]
        name = options.get(b"name", b"").decode("utf-8", "replace")
        if name not in _PARTS:
            raise _refuse("unknown_member", f"There is no part {shorten(name)} here; they are: {', '.join(_PARTS)}")
        if name in self.found:
            raise _refuse("duplicate", f"The form has the part {name} twice", f"/{name}")
        self._now = self.found[name] = bytearray()

    def _end(self) -> None:
        self._ended = True


def _refuse(code: str, reason: str, pointer: str = "") -> Malformed:
    return Malformed(reason, [Violation(pointer, code, reason)])
