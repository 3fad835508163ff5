"""The server's HTTP protocol: bytes that are no HTTP request are answered with a problem, as everything else is."""

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gristmill.api.problems import encode_problem
from gristmill.core.errors import Malformed
from gristmill.kit.ids import uuid7

_DETAIL = "The request is no HTTP/1.1 that can be read, or its URL is longer than 65,535 bytes"


class ProblemProtocol(HttpToolsProtocol):
    """Answers what never reaches the application."""

    def send_400_response(self, msg: str) -> None:
        """Answer with a problem and close the connection."""
        status, body, headers = encode_problem(Malformed(_DETAIL), "", str(uuid7()))
        lines = [f"HTTP/1.1 {status} Bad Request"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [f"content-length: {len(body)}", "connection: close", "", ""]
        self.transport.write("\r\n".join(lines).encode("ascii") + body)
        self.transport.close()
