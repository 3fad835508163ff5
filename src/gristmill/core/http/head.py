"""HEAD: every GET answers it, with the same headers and nothing behind them.

The application sees a GET; what must not be done for a HEAD asks here.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.requests import Request

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


def is_head(http: Request) -> bool:
    """Say whether only the headers are asked for: nobody is waited for then, and nothing is streamed."""
    return "head" in http.scope["state"]


def as_get(scope: MutableMapping[str, Any]) -> dict[str, Any]:
    """Return the scope of the GET that a HEAD is answered as. The server keeps its own, and so sends no body."""
    scope["state"]["head"] = True
    return {**scope, "method": "GET"}


def without_body(send: Send) -> Send:
    """Return what passes on the start of an answer and its end."""
    ended = False

    async def start_and_end(message: Message) -> None:
        nonlocal ended
        if message["type"] == "http.response.start":
            await send(message)
        elif not ended:
            ended = True
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    return start_and_end
