"""Shared parts of all endpoints: who asks, and which scope a call needs."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from fastapi import Request

from gristmill.core.errors import Forbidden, TooLarge

Scope = Literal["read", "write", "admin"]
# Each scope includes those before it.
SCOPES: tuple[Scope, ...] = ("read", "write", "admin")


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request: ``key:<name>``, or ``local`` where no key is needed."""

    name: str
    scope: Scope


LOCAL = Principal("local", "admin")


def principal_of(request: Request) -> Principal:
    """Return the principal that the gate has found."""
    principal: Principal = request.scope["state"]["principal"]
    return principal


def needs(scope: Scope) -> Callable[..., Awaitable[None]]:
    """A dependency that refuses principals whose key has a smaller scope. Raises Forbidden.

    It is async because FastAPI sends every synchronous dependency through the thread pool.
    """

    async def check(request: Request) -> None:
        principal = principal_of(request)
        if SCOPES.index(principal.scope) < SCOPES.index(scope):
            raise Forbidden(f"This call needs a key of scope {scope}; {principal.name} has {principal.scope}")

    return check


async def read_limited(http: Request, limit: int, what: str) -> bytes:
    """Return the body of a request. Raises TooLarge as soon as it is longer than ``limit`` bytes."""
    body = bytearray()
    async for part in http.stream():
        body += part
        if len(body) > limit:
            raise TooLarge(f"{what} has at most {limit} bytes", limit=limit)
    return bytes(body)
