"""REST: the functions that expressions call."""

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from gristmill.core.http.endpoints import needs
from gristmill.transforms.expression.functions import list_functions


def build_router() -> APIRouter:
    """Return the routes under /functions."""
    router = APIRouter(prefix="/functions", tags=["datasets"])

    @router.get("", dependencies=[Depends(needs("read"))])
    def list_functions_of_expressions() -> JSONResponse:
        """List the functions that expressions of pipelines call, with their parameters and examples."""
        return JSONResponse({"functions": list_functions()})

    return router
