"""The REST application: routers of all domains under /api/v1, behind the middleware."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import anyio.to_thread
from fastapi import Depends, FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import ASGIApp

from gristmill import __version__
from gristmill.access.keys import KeyRing
from gristmill.api import service_endpoints
from gristmill.api.cors import Cors, read_origins
from gristmill.api.middleware import API, ApiMiddleware
from gristmill.api.problems import install_problem_handlers
from gristmill.bootstrap.api import ApiServices
from gristmill.bootstrap.shared import freeze_memory
from gristmill.core.config import Settings
from gristmill.core.http.endpoints import known_parameters
from gristmill.core.http.routes import add_hot_routes
from gristmill.jobs.completion import JobCompletion


def make_app(services: ApiServices) -> ASGIApp:
    """Return the ASGI application."""
    gristmill = services.gristmill
    found = ApiMiddleware(make_rest(services), gristmill.settings, KeyRing(gristmill.database))
    origins = read_origins(gristmill.settings.api_cors_origins)
    return Cors(found, origins) if origins else found


def make_rest(services: ApiServices) -> FastAPI:
    """Return the application behind the middleware: all routes, and the document of them."""
    gristmill = services.gristmill
    settings: Settings = gristmill.settings

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        anyio.to_thread.current_default_thread_limiter().total_tokens = settings.api_threads
        await app.state.completion.start()
        # In a thread of its own: the API answers meanwhile.
        warm_up = asyncio.create_task(asyncio.to_thread(services.gristmill.load_ahead))
        freeze_memory()
        yield
        await warm_up
        await app.state.completion.stop()

    # FastAPIOffline serves the documentation's scripts itself: /docs works without a way to the Internet.
    app: FastAPI = FastAPIOffline(
        title="Gristmill",
        version=__version__,
        summary="Batches in; typed, embedded, searchable rows out.",
        lifespan=lifespan,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.jobs = services.jobs
    app.state.notifier = gristmill.notifier
    app.state.completion = JobCompletion(gristmill.database, services.jobs.get_all)
    app.state.max_wait = settings.api_max_wait
    app.state.idempotency_hours = settings.jobs_idempotency_hours
    app.include_router(service_endpoints.build_router(gristmill.database, services.extensions))
    for router in services.routers():
        app.include_router(router, prefix=API, dependencies=[Depends(known_parameters)])
    add_hot_routes(app, services.calls(), API)
    describe = app.openapi

    @cache
    def document() -> dict[str, Any]:
        # Some fifty models, which nobody needs until somebody asks for the document.
        from gristmill.api.openapi.document import complete  # noqa: PLC0415

        return complete(describe())

    app.openapi = document  # type: ignore[method-assign]
    install_problem_handlers(app)
    return app
