"""Shared parts of all endpoints: who asks, which permission a call needs, and which parameters it has."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from fastapi import Request

from gristmill.core.errors import Forbidden, Invalid, Violation
from gristmill.core.http.bodies import BODYLESS, refuse_body
from gristmill.core.http.conditions import check_conditions
from gristmill.core.permissions import LEVELS, Level


@dataclass(frozen=True, slots=True)
class Principal:
    """Who makes a request: ``key:<name>``, or ``local`` where no key is needed."""

    name: str
    scope: Level


LOCAL = Principal("local", "admin")
LINK = Principal("link", "link")
"""Whoever sends a signed link and no key. The call checks the signature: it is one file's, and opens nothing else."""


def principal_of(request: Request) -> Principal:
    """Return the principal that the middleware has found."""
    principal: Principal = request.scope["state"]["principal"]
    return principal


def needs(scope: Level) -> Callable[..., Awaitable[None]]:
    """A dependency that refuses principals without this permission. Raises Forbidden.

    It is async because FastAPI sends every synchronous dependency through the thread pool.
    """

    async def check(request: Request) -> None:
        check_permission(request, scope)

    return check


def check_permission(http: Request, needed: Level, what: str = "This call") -> None:
    """Refuse a principal whose key has a smaller scope. what: needs it. Raises Forbidden."""
    principal = principal_of(http)
    if LEVELS.index(principal.scope) < LEVELS.index(needed):
        raise Forbidden(f"{what} needs a key of scope {needed}; {principal.name} has {principal.scope}")


# By route: the names of its query parameters, and whether each may be repeated; and the names of its headers.
_known: dict[int, tuple[dict[str, bool], frozenset[str]]] = {}


async def known_parameters(http: Request) -> None:
    """A dependency that refuses parameters, conditions and bodies which the call does not have. Raises Invalid."""
    route = http.scope["route"]
    known = _known.get(id(route))
    if known is None:
        dependant = route.dependant
        known = _known[id(route)] = dict(_parameters(dependant)), frozenset(_headers(dependant))
    if http.scope["query_string"]:
        check_query(http, known[0])
    check_conditions(http, known[1])
    if http.method in BODYLESS:
        await refuse_body(http)


def check_query(http: Request, known: Mapping[str, bool]) -> None:
    """Refuse query parameters that are not ``known``, and those given twice that may not be. Raises Invalid.

    A misspelt on_conflict or where, passed over in silence, would do something else than was asked for.
    """
    violations = []
    for name, times in _repeated(http).items():
        if name in known and not known[name]:
            reason = f"The query parameter {name} is given {times} times: give it once"
            violations.append(Violation(f"/query/{name}", "duplicate", reason, field=name))
    for name in sorted(set(http.query_params) - known.keys()):
        valid = f"the valid ones are: {', '.join(sorted(known))}" if known else "it has none"
        reason = f"This call has no query parameter {name[:80]!r}; {valid}"
        violations.append(Violation(f"/query/{name[:80]}", "unknown_parameter", reason, field=name[:80]))
    if violations:
        raise Invalid(violations[0].reason, violations)


def _repeated(http: Request) -> dict[str, int]:
    """Return how often each query parameter is given that is given more than once."""
    counts = Counter(name for name, _ in http.query_params.multi_items())
    return {name: count for name, count in counts.items() if count > 1}


def _parameters(dependant: Any) -> Iterator[tuple[str, bool]]:
    """Yield (name, may be repeated) of the query parameters of a call and of everything that it depends on."""
    for parameter in dependant.query_params:
        yield parameter.alias, may_repeat(parameter.field_info.annotation)
    for inner in dependant.dependencies:
        yield from _parameters(inner)


def _headers(dependant: Any) -> Iterator[str]:
    """Yield the names of the headers that a call, or what it depends on, reads."""
    for header in dependant.header_params:
        yield header.alias
    for inner in dependant.dependencies:
        yield from _headers(inner)


def may_repeat(annotation: Any) -> bool:
    """Say whether a query parameter of this type may be given several times: a list, or a list or null."""
    return any(get_origin(part) is list for part in (annotation, *get_args(annotation)))
