"""REST: one record, the newest records, pages of records."""

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response
from starlette.concurrency import run_in_threadpool

from gristmill.core.http.bodies import parse_json, read_json
from gristmill.core.http.conditions import not_modified
from gristmill.core.http.convertors import KEY
from gristmill.core.http.endpoints import needs
from gristmill.core.http.links import next_page
from gristmill.core.http.routes import Call, NoQuery
from gristmill.datasets.describe import shorten
from gristmill.records.read.nested.request import MOST_DEPTH, read_expand
from gristmill.records.read.pages import MAX_PAGE, MAX_TOKEN, PageQuery
from gristmill.records.read.service import RecordReads
from gristmill.records.read.shape import split_names

_QUERY = """List records page by page, as the GET of the records does: for what does not fit into a URL."""
_GET = """Return up to 1,000 records by their keys, in the order of the keys, and the keys that no record has."""
_COUNT = """Return how many records a filter and a window find."""
_DISTINCT = """Return the distinct values of a field, or of a member of a json field, and how many records have each.

`order` is `count` (most frequent first) or `value`. Null is a value: that of records without one.
"""
Include = Annotated[
    list[Literal["embedding"]] | None, Query(description="`embedding` adds each record's vector as `_embedding`")
]


Expanded = Annotated[
    list[str] | None,
    Query(
        max_length=20,
        description="`children` adds each record's children as `_children`, `parent` its parents as `_parents`; both "
        "may be given, repeated or with a comma between them",
    ),
]
Depth = Annotated[
    int | None, Query(ge=1, le=MOST_DEPTH, description="how many levels of children and of parents; 1 without it")
]
Zone = Annotated[
    str | None,
    Query(max_length=64, description="the time zone of timestamps; `contract` for that of each field; else UTC"),
]
# A thousand keys of text fit, or a filter of 200 conditions many times over.
MAX_QUERY_BYTES = 4 * 1024 * 1024


def build_calls(service: RecordReads) -> list[Call[Any]]:
    """Return the hot calls: reads whose request is a body."""

    def call(path: str, name: str, text: str, what: str, work: Callable[[str, bytes], bytes]) -> Call[Any]:
        async def endpoint(http: Request, _: NoQuery) -> Response:
            raw = await read_json(http, MAX_QUERY_BYTES, what)
            # The answer is encoded in the thread that made it.
            found = await run_in_threadpool(work, http.path_params["dataset"], raw)
            return Response(found, media_type="application/json")

        endpoint.__name__, endpoint.__doc__ = name, text
        return Call("POST", f"/datasets/{{dataset}}/records/{path}", "read", endpoint, NoQuery, "records")

    return [
        call("query", "query_records", _QUERY, "A query", service.query),
        call("get", "get_records", _GET, "A list of keys", service.get_many),
        call("count", "count_records", _COUNT, "A query", service.count),
        call("distinct", "distinct_values", _DISTINCT, "A query", service.distinct),
    ]


def build_router(service: RecordReads) -> APIRouter:
    """Return the reading routes under /datasets/{dataset}."""
    router = APIRouter(prefix="/datasets/{dataset}", tags=["records"], dependencies=[Depends(needs("read"))])

    @router.get("/latest")
    def get_latest(
        dataset: str,
        n: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 10,
        include: Include = None,
        zone: Zone = None,
        expand: Expanded = None,
        depth: Depth = None,
    ) -> Response:
        """Return the newest records: by the time field, or without one in the order of submission."""
        wanted = read_expand(expand, depth, "/query")
        return _json(service.latest(dataset, n, bool(include), zone, wanted).to_json())

    @router.get("/records")
    def list_records(
        http: Request,
        dataset: str,
        start: Annotated[str | None, Query(max_length=64, description="time from, inclusive")] = None,
        end: Annotated[str | None, Query(max_length=64, description="time to, inclusive")] = None,
        where: Annotated[str | None, Query(description="a filter, as JSON")] = None,
        order: Annotated[str | None, Query(max_length=5000, description="field,-other: a minus is descending")] = None,
        page_size: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 100,
        page_token: Annotated[str | None, Query(max_length=MAX_TOKEN)] = None,
        include: Include = None,
        fields: Annotated[str | None, Query(max_length=20_000, description="names, separated by commas")] = None,
        total: Annotated[bool, Query(description="count the matching records too")] = False,
        zone: Zone = None,
        expand: Expanded = None,
        depth: Depth = None,
    ) -> Response:
        """List records page by page: by key, or by time in a window, unless ``order`` says otherwise."""
        names, filter_ = split_names(fields), read_where(where)
        query = PageQuery(start, end, filter_, order, page_size, page_token, bool(include), names, total, zone)
        page = service.page(dataset, query, read_expand(expand, depth, "/query"))
        return _json(page.to_json(), next_page(http, page.body["next_page_token"]))

    @router.get(f"/records/{KEY}")
    def get_record(
        http: Request,
        dataset: str,
        key: str,
        include: Include = None,
        zone: Zone = None,
        expand: Expanded = None,
        depth: Depth = None,
        if_none_match: Annotated[str | None, Header(description="ETags: 304 where one is the record's")] = None,
    ) -> Response:
        """Return the record with this key; a composite key is a percent-encoded JSON array."""
        record, tag = service.get(dataset, key, bool(include), zone, read_expand(expand, depth, "/query"))
        same = not_modified(http, tag)
        return Response(status_code=304, headers=same) if same else _json(record, {"ETag": str(tag)})

    return router


def _json(content: bytes, headers: Mapping[str, str] | None = None) -> Response:
    return Response(content, media_type="application/json", headers=headers)


def read_where(text: str | None) -> Any:
    """Return the parsed filter of a query parameter. Raises Malformed."""
    if text is None:
        return None
    return parse_json(text, f"where={shorten(text)}", "/query/where")
