"""REST: search."""

from typing import Any

from fastapi import Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from gristmill.core.http.bodies import read_json
from gristmill.core.http.routes import Call, NoQuery
from gristmill.search.query.service import SearchService

# A hundred vectors of 1,536 dimensions fit, or one with a filter of 200 conditions many times over.
MAX_SEARCH_BYTES = 4 * 1024 * 1024


def build_calls(service: SearchService) -> list[Call[Any]]:
    """Return the hot call: a search."""

    async def search(http: Request, _: NoQuery) -> Response:
        """Return the records nearest to a text, to a vector, or to a stored record, or those that match words.

        The body has exactly one of `text`, `vector` and `like` (a key), or `queries`, up to 100 objects with one of
        them each. It may have `mode` (`vector`, `text`: by words, `hybrid`: both), `k` (1 to 1000, default 10),
        `where` (a filter), `max_distance` or `min_score`, `page_size` and `page_token`, `include` (`["embedding"]`),
        `exact` (compare every record), `ef` (1 to 1000: more effort, better recall), `weights` (of the two rankings of
        a hybrid search) and `explain`.
        """
        body = await read_json(http, MAX_SEARCH_BYTES, "A search")
        # The answer is encoded in the thread that made it: nothing but bytes comes back to the event loop.
        found = await run_in_threadpool(service.answer, http.path_params["dataset"], body)
        return Response(found, media_type="application/json")

    return [Call("POST", "/datasets/{dataset}/search", "read", search, NoQuery, "search")]
