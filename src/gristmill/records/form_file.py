"""The file that a form uploads (multipart/form-data, RFC 7578), taken out of a request body while it streams in."""

from collections.abc import Mapping, Sequence

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from gristmill.core.errors import Malformed, UnsupportedMedia, Violation
from gristmill.core.http.bodies import check_media_type, media_type_name

_ENCODINGS = {"gz": "gzip", "zst": "zstd"}
# Of a part's head: its few lines have the names of the field and of the file.
_MAX_HEADERS, _MAX_HEADER_BYTES = 16, 8 * 1024


class FormFile:
    """The one file of a form.

    media_type: what its Content-Type says, if that is one of ``supported``; else what its name ends with. encoding: the
    same for a name that goes on with .gz or .zst; None for a plain file. Both are known once ``finish`` returns.
    """

    def __init__(self, content_type: str, supported: Sequence[str], extensions: Mapping[str, str]) -> None:
        """Raises UnsupportedMedia where the Content-Type of the request has no boundary."""
        boundary = parse_options_header(content_type)[1].get(b"boundary", b"")
        if not boundary:
            raise UnsupportedMedia(f"The Content-Type {content_type[:80]!r} has no boundary")
        self.media_type = ""
        self.encoding: str | None = None
        self._supported, self._extensions = supported, extensions
        # What the form ends with, and the end of what has come so far.
        self._close, self._tail = b"--" + boundary + b"--", b""
        self._parts = 0
        self._ended = False
        self._head: list[list[bytes]] = []
        self._data: list[bytes] = []
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_begin": lambda: self._head.append([b"", b""]),
                    "on_header_field": lambda data, start, end: self._add_to_head(0, data[start:end]),
                    "on_header_value": lambda data, start, end: self._add_to_head(1, data[start:end]),
                    "on_headers_finished": self._read_head,
                    "on_part_data": lambda data, start, end: self._data.append(data[start:end]),
                    "on_end": self._end,
                },
                max_header_count=_MAX_HEADERS,
                max_header_size=_MAX_HEADER_BYTES,
            )
        except FormParserError as error:
            raise UnsupportedMedia(f"The Content-Type is not supported: {error}") from error

    def feed(self, block: bytes) -> bytes:
        """Return what the block has of the file. Raises Malformed, UnsupportedMedia for a file of an unknown type."""
        if self._ended and block.strip(b"\r\n"):
            raise _refuse("one_file", "Something follows the end of the form: send one form in a request")
        self._tail = (self._tail + block)[-len(self._close) - 2 :]
        try:
            self._parser.write(block)
        except FormParserError as error:
            raise _refuse("malformed", f"The body is not a form: {error}") from error
        data = b"".join(self._data)
        self._data.clear()
        return data

    def finish(self) -> None:
        """Raises Malformed where the form is broken off, or has no file."""
        if not self._ended:
            raise _refuse("truncated", "The form is broken off: its last boundary is not there")
        if not self._tail.rstrip(b"\r\n").endswith(self._close):
            raise _refuse("one_file", "Something follows the end of the form: send one form in a request")
        if not self.media_type:
            raise _refuse("one_file", "The form has no file: it has to have one")

    def _begin(self) -> None:
        self._parts += 1
        self._head.clear()
        if self._parts > 1:
            raise _refuse("one_file", "The form has a second part: send one file; options are parameters of the URL")

    def _add_to_head(self, index: int, data: bytes) -> None:
        self._head[-1][index] += data

    def _read_head(self) -> None:
        head = {name.decode("latin-1").strip().lower(): value.decode("latin-1").strip() for name, value in self._head}
        written = head.get("content-transfer-encoding", "binary").lower()
        if written not in ("binary", "7bit", "8bit"):
            reason = f"The Content-Transfer-Encoding {written[:80]!r} is not supported: send the file as it is"
            raise UnsupportedMedia(reason)
        options = parse_options_header(head.get("content-disposition"))[1]
        name = options.get(b"filename", b"").decode("utf-8", "replace")
        *_, before, last = ["", "", *name.lower().split(".")[1:]]
        self.encoding = _ENCODINGS.get(last)
        given = head.get("content-type", "")
        if media_type_name(given) in self._supported:
            self.media_type = check_media_type(given, self._supported)
            return
        # What a browser or curl says of a file that it does not know is no help; its name is.
        known = self._extensions.get(before if self.encoding else last)
        if known is None:
            reason = (
                f"The file {name[:80]!r} has the Content-Type {given[:80]!r}, and its name does not say what it is: "
                f"valid are the types {', '.join(self._supported)}; or names that end with "
                f".{', .'.join(self._extensions)}, and .gz or .zst after it"
            )
            raise UnsupportedMedia(reason, supported=list(self._supported))
        self.media_type = known

    def _end(self) -> None:
        self._ended = True


def _refuse(code: str, reason: str) -> Malformed:
    return Malformed(reason, [Violation("", code, reason)])
