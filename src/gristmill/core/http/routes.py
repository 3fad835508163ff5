"""Hot routes: plain Starlette routes inside the application, for the calls that come most often.

Routing, parameters and dependencies of the framework cost a POST 400 µs of CPU, a plain route 55. What the framework
would do for such a call is declared here: its permission, its query parameters, its part of the OpenAPI document.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Receive, Scope, Send

from gristmill.core.http.bodies import BODYLESS, refuse_body
from gristmill.core.http.conditions import check_conditions
from gristmill.core.http.convertors import KEY, names_part
from gristmill.core.http.endpoints import check_permission, check_query, may_repeat
from gristmill.core.permissions import Level

Query = TypeVar("Query", bound=BaseModel)


class NoQuery(BaseModel):
    """The query of a call that has no parameters."""


@dataclass(frozen=True, slots=True)
class Header:
    """A header that a call reads, for its documentation."""

    name: str
    description: str


@dataclass(frozen=True, slots=True)
class Call(Generic[Query]):
    """What a hot route does, and what its documentation says.

    path: below /api/v1. needs: the smallest permission. endpoint: gets the request, and its query as an object of the
    class ``query``, whose fields are the parameters of the call; its docstring is the text of the documentation. Bodies
    and answers are documented in ``api/openapi/operations.py``.
    """

    method: str
    path: str
    needs: Level
    endpoint: Callable[[Request, Query], Awaitable[Response]]
    query: type[Query]
    tag: str
    headers: Sequence[Header] = ()


class HotRoute(Route):
    """One call as a route. prefix: what its path follows."""

    def __init__(self, call: Call[Any], prefix: str) -> None:
        known = {name: may_repeat(one.annotation) for name, one in call.query.model_fields.items()}
        declared = frozenset(header.name for header in call.headers)
        bodyless = call.method in BODYLESS
        # Made once: most requests have no query, and the object cannot be changed.
        default = call.query()

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            http = Request(scope, receive, send)
            query = default
            if scope["query_string"]:
                check_query(http, known)
                check_permission(http, call.needs)
                query = _parse(call.query, http, known)
            else:
                check_permission(http, call.needs)
            check_conditions(http, declared)
            if bodyless:
                await refuse_body(http)
            response = await call.endpoint(http, query)
            await response(scope, receive, send)

        super().__init__(prefix + call.path, call.endpoint, methods=[call.method], name=_name(call))
        # What is raised is answered where the application does it for all routes.
        self.app = answer
        # A HEAD comes as a GET.
        self.methods = {call.method}
        self.call = call

    def matches(self, scope: MutableMapping[str, Any]) -> tuple[Match, MutableMapping[str, Any]]:
        """Match as any route, and say which one it was: metrics name the call by it."""
        match, child = super().matches(scope)
        if match is not Match.NONE and self.path.endswith(KEY) and names_part(scope):
            return Match.NONE, {}
        if match is Match.FULL:
            child["route"] = self
        return match, child

    def operation(self) -> dict[str, Any]:
        """Return this call's part of the OpenAPI document."""
        call = self.call
        parameters: list[dict[str, Any]] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in self.param_convertors
        ]
        for name, schema in call.query.model_json_schema().get("properties", {}).items():
            if schema.get("default", ...) is None:
                del schema["default"]
            described = {"description": schema.pop("description")} if "description" in schema else {}
            parameters.append({"name": name, "in": "query", "required": False, "schema": schema, **described})
        for header in call.headers:
            described = {"description": header.description, "schema": {"type": "string"}}
            parameters.append({"name": header.name, "in": "header", "required": False, **described})
        return {
            "tags": [call.tag],
            "summary": self.name.replace("_", " ").title(),
            "description": inspect.getdoc(call.endpoint) or "",
            "operationId": self.name,
            "parameters": parameters,
        }


def add_hot_routes(app: FastAPI, calls: list[Call[Any]], prefix: str) -> None:
    """Put the calls before all other routes of the application, and into its OpenAPI document."""
    routes = [HotRoute(call, prefix) for call in calls]
    app.router.routes[:0] = routes
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        document = describe()
        for route in routes:
            path = document["paths"].setdefault(route.path_format, {})
            if route.call.method.lower() not in path:
                path[route.call.method.lower()] = route.operation()
        return document

    app.openapi = openapi  # type: ignore[method-assign]


def _name(call: Call[Any]) -> str:
    return str(getattr(call.endpoint, "__name__", call.path))


def _parse(model: type[BaseModel], http: Request, known: Mapping[str, bool]) -> BaseModel:
    """Return the query as the model has it. Raises RequestValidationError, as the framework does."""
    query = http.query_params
    given = {name: query.getlist(name) if known[name] else query[name] for name in query.keys() & known.keys()}
    try:
        return model.model_validate(given)
    except ValidationError as error:
        raise RequestValidationError(
            [{**one, "loc": ("query", *one["loc"])} for one in error.errors(include_url=False)]
        ) from error
