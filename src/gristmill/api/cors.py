"""Pages of other sites (CORS): those that the setting ``api.cors_origins`` lists may call the API from a browser."""

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from gristmill.api.problems import encode_problem
from gristmill.core.errors import Forbidden
from gristmill.kit.ids import uuid7

ANY = "*"
_METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
# What a script may read of an answer beside what every script may.
_EXPOSED = (
    "ETag", "Gristmill-Batch", "Gristmill-Horizon", "Link", "Location", "Preference-Applied", "Retry-After",
    "X-Request-ID", "Content-Disposition",
)  # fmt: skip


def read_origins(setting: str) -> frozenset[str]:
    """Return the origins that the setting lists, separated by blanks."""
    return frozenset(setting.split())


class Cors(CORSMiddleware):
    """Answers preflights, and says on every answer which pages may read it. Keys come in headers, never in cookies."""

    def __init__(self, app: ASGIApp, origins: frozenset[str]) -> None:
        super().__init__(
            app,
            allow_origins=sorted(origins),
            allow_methods=_METHODS,
            allow_headers=["*"],
            expose_headers=_EXPOSED,
        )

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        origin, method = request_headers["origin"], request_headers["access-control-request-method"]
        error = Forbidden(f"Pages of {origin[:80]!r} may not {method[:20]} here: see the setting api.cors_origins")
        status, body, headers = encode_problem(error, "", str(uuid7()))
        return Response(body, status, {**headers, "Vary": "Origin"})
