"""REST: the steps of pipelines, and the functions that expressions call."""

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from gristmill.core.http.endpoints import needs
from gristmill.transforms.expression.functions import list_functions
from gristmill.transforms.registry import StepRegistry


def build_router(steps: StepRegistry) -> APIRouter:
    """Return the routes /transforms and /functions."""
    router = APIRouter(tags=["datasets"])

    @router.get("/transforms", dependencies=[Depends(needs("read"))])
    def list_transforms() -> JSONResponse:
        """List the steps that pipelines may have, with the JSON Schema of their parameters and examples."""
        return JSONResponse({"transforms": steps.as_json()})

    @router.get("/functions", dependencies=[Depends(needs("read"))])
    def list_functions_of_expressions() -> JSONResponse:
        """List the functions that expressions of pipelines call, with their parameters and examples."""
        return JSONResponse({"functions": list_functions()})

    return router
