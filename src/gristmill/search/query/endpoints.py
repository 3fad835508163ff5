"""REST: search."""

from typing import Any

from fastapi import Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from gristmill.core.http.bodies import FORM, JSON, read_body
from gristmill.core.http.routes import Call, Header, NoQuery
from gristmill.search.query.service import SearchService

# A hundred vectors of 1,536 dimensions fit, or an image of 4 MiB in base64.
MAX_SEARCH_BYTES = 8 * 1024 * 1024


def build_calls(service: SearchService) -> list[Call[Any]]:
    """Return the hot call: a search."""

    async def search(http: Request, _: NoQuery) -> Response:
        """Return the records nearest to a text, a vector, an image or a stored record, or those that match words.

        The body has exactly one of `text`, `vector`, `image` (base64 of a file of at most 4 MiB) and `like` (a key), or
        `queries`, up to 100 objects with one of them each. A form (`multipart/form-data`) has the image as the part
        `image`, and all other members as the part `query`, which is JSON and may be left out. The search may have
        `mode` (`vector`, `text`: by words, `hybrid`: both), `k` (1 to 1000, default 10), `where` (a filter),
        `max_distance` or `min_score`, `page_size` and `page_token`, `include` (`["embedding"]`), `exact` (compare every
        record), `ef` (1 to 1000: more effort, better recall), `weights` (of the two rankings of a hybrid search) and
        `explain`.
        """
        media_type, body = await read_body(http, (JSON, FORM), MAX_SEARCH_BYTES, "A search")
        form = http.headers["content-type"] if media_type == FORM else ""
        # The answer is encoded in the thread that made it: nothing but bytes comes back to the event loop.
        found = await run_in_threadpool(service.answer, http.path_params["dataset"], body, form)
        return Response(found, media_type="application/json")

    # A generator of Python clients forgets an import for calls with two kinds of bodies and nothing optional.
    named = Header("x-request-id", "The name of the request in logs; the answer has it too. One is made without it.")
    return [Call("POST", "/datasets/{dataset}/search", "read", search, NoQuery, "search", headers=(named,))]
