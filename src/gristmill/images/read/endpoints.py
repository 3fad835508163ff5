"""REST: the image of a record, as it is or as a thumbnail.

Memory is bounded by what is held at once (each at most ``images.max_file_bytes``) and by what is decoded at once (each
at most ``images.max_pixels``, of which a thumbnail needs up to three copies of four bytes a pixel).
"""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from gristmill.core.config import Settings
from gristmill.core.http.conditions import not_modified
from gristmill.core.http.convertors import KEY, names_part
from gristmill.core.http.endpoints import needs
from gristmill.core.http.files import HeldFile, Sending, StoredFile, file_answer
from gristmill.core.http.own_threads import OwnThreads
from gristmill.core.http.turns import Turns
from gristmill.images.errors import TooManyImages
from gristmill.images.formats import MEDIA_TYPES
from gristmill.images.read.service import RecordImages
from gristmill.kit.entity_tags import Tag

LEAST_SIZE, LARGEST_SIZE = 16, 2048
# Images that a process holds at the same moment, until they are sent; that are read from the folder; that are decoded.
HELD_AT_ONCE = 16
READ_AT_ONCE = 4
DECODED_AT_ONCE = 2
# Seconds that a request waits for its turn.
PATIENCE = 30.0
_HEADERS = {
    # It is an image, whatever its bytes look like.
    "X-Content-Type-Options": "nosniff",
    # Kept, and asked for again: a record and its file may change at any time.
    "Cache-Control": "private, no-cache, no-transform",
}


class _ImageRoute(APIRoute):
    """Matches where the path ends with ``/image`` as the client wrote it: in ``…/records/a%2Fimage`` that is the key's.

    What routes are given is decoded, and a key may have slashes.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope.get("raw_path") is not None and not names_part(scope):
            return Match.NONE, {}
        return super().matches(scope)


def build_router(service: RecordImages, settings: Settings) -> APIRouter:
    """Return the route; it has to stand before that of a record, whose key may be anything."""
    router = APIRouter(
        prefix="/datasets/{dataset}",
        tags=["records"],
        dependencies=[Depends(needs("read"))],
        route_class=_ImageRoute,
    )
    turns = Turns(HELD_AT_ONCE, PATIENCE, _too_many)
    read, decode = OwnThreads(READ_AT_ONCE).run, OwnThreads(DECODED_AT_ONCE).run

    @router.get(f"/records/{KEY}/image")
    async def get_record_image(
        http: Request,
        dataset: str,
        key: str,
        field: Annotated[
            str | None, Query(max_length=100, description="the image field; not needed where there is one")
        ] = None,
        size: Annotated[
            int | None,
            Query(ge=LEAST_SIZE, le=LARGEST_SIZE, description="fits into so many pixels; the file as it is without it"),
        ] = None,
        range: Annotated[str | None, Header(description="bytes=first-last, several with commas")] = None,
        if_range: Annotated[str | None, Header(description="ETag: the whole image if it is another")] = None,
        if_match: Annotated[str | None, Header(description="ETags: 412 where none is the image's")] = None,
        if_none_match: Annotated[str | None, Header(description="ETags: 304 where one is the image's")] = None,
    ) -> Response:
        """Return the image of a record: the file as it is, or with `size` a thumbnail.

        A thumbnail fits into so many pixels in both directions, stands upright and is never enlarged; it is a JPEG, or
        a PNG or WebP where something is transparent.
        """
        await turns.take()
        try:
            image = await read(partial(service.find, dataset, key, field))
            tag = Tag(await read(partial(service.tag, image, size)))
            same = not_modified(http, tag)
            if same:
                turns.give_back()
                return Response(status_code=304, headers={**_HEADERS, **same})
            data, format = await decode(partial(service.show, image, size))
            headers = {"Content-Type": MEDIA_TYPES[format], **_HEADERS}
            file = StoredFile(HeldFile(data), f"{dataset} {key[:80]}", tag, None, headers)
            return file_answer(http, file, Sending(_at_once, turns.give_back, settings.export_stall))
        except BaseException:
            turns.give_back()
            raise

    return router


async def _at_once(work: Any) -> Any:
    """Run what needs no thread: it gives a part of what is held."""
    return work()


def _too_many() -> TooManyImages:
    return TooManyImages(f"{HELD_AT_ONCE} images are being read and sent, as many as can be at once", 5)
