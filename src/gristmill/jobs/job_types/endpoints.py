"""REST: the job types that may be submitted, and submitting one."""

from functools import partial
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from gristmill.core.http import routes
from gristmill.core.http.bodies import read_json
from gristmill.core.http.endpoints import check_permission
from gristmill.core.http.idempotency import request_hash
from gristmill.jobs.endpoints import WRITE_HEADERS, WriteQuery, answer_write, request_of
from gristmill.jobs.job_types.catalogue import Catalogue
from gristmill.jobs.job_types.new_job import new_job
from gristmill.jobs.job_types.requests import parse_request, with_options
from gristmill.jobs.job_types.submission import JobSubmission

# Arguments travel with every claim of the job: what is larger belongs into a dataset.
MAX_BYTES = 256 * 1024


def build_calls(catalogue: Catalogue, submission: JobSubmission) -> list[routes.Call[Any]]:
    """Return the calls."""

    async def list_job_types(http: Request, _: routes.NoQuery) -> Response:
        """List the job types that may be submitted, with the JSON Schema of their arguments, and the plugins."""
        return Response(to_json(catalogue.as_json()), media_type="application/json")

    async def submit_job(http: Request, _: WriteQuery) -> Response:
        """Submit a job of one of the listed types: its arguments are checked now, a worker carries it out.

        The type says which permission that needs.
        """
        body = await read_json(http, MAX_BYTES, "A job")
        given = parse_request(body)
        after = None if given.delay is None else await submission.after(given.delay)
        request = with_options(request_of(http, request_hash(http, body)), given, set(http.query_params), after)
        job_type = catalogue.find(given.type)
        check_permission(http, job_type.permission, f"Submitting a job of the type {job_type.name}")
        make = partial(new_job, job_type, given.args, given.max_attempts, default_attempts=catalogue.default_attempts)
        return await answer_write(http, await submission.submit(job_type, make, request), request)

    return [
        routes.Call("GET", "/job-types", "read", list_job_types, routes.NoQuery, "jobs"),
        routes.Call("POST", "/jobs", "read", submit_job, WriteQuery, "jobs", WRITE_HEADERS),
    ]
