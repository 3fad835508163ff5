"""REST: health, readiness, metrics, version."""

from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST

from gristmill import __version__
from gristmill.api.metrics import make_registry, render
from gristmill.core.database import Database
from gristmill.datasets.extensions import DatasetExtension

LINKS = {
    "documentation": "/docs",
    "openapi": "/openapi.json",
    "datasets": "/api/v1/datasets",
    "jobs": "/api/v1/jobs",
    "health": "/healthz",
    "ready": "/readyz",
    "metrics": "/metrics",
}


def build_router(database: Database, extensions: Sequence[DatasetExtension]) -> APIRouter:
    """Return the routes outside /api/v1."""
    router = APIRouter(tags=["service"])
    registry = make_registry(database, extensions)

    @router.get("/")
    async def root(http: Request) -> Response:
        """Say what this is and where everything is; a browser is led to the documentation."""
        vary = {"Vary": "Accept"}
        if "text/html" in http.headers.get("accept", ""):
            return RedirectResponse("/docs", headers=vary)
        return JSONResponse({"name": "gristmill", "version": __version__, "links": LINKS}, headers=vary)

    @router.get("/healthz")
    async def health() -> JSONResponse:
        """Say that the process answers; it asks nobody else."""
        return JSONResponse({"status": "ok"})

    @router.get("/readyz")
    def ready() -> JSONResponse:
        """Say whether Postgres answers: that is all that a write or a read needs. Without it 503."""
        database.ping()
        return JSONResponse({"status": "ready"})

    @router.get("/metrics")
    def metrics() -> Response:
        """Metrics for Prometheus."""
        return Response(render(registry), media_type=CONTENT_TYPE_LATEST)

    @router.get("/version")
    async def version() -> JSONResponse:
        return JSONResponse({"name": "gristmill", "version": __version__})

    return router
