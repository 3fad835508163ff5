"""REST: change and delete records."""

from collections.abc import Callable, Sequence
from typing import Any

from fastapi import Request
from fastapi.responses import Response

from gristmill.core.config import Settings
from gristmill.core.http.bodies import JSON, media_type_of
from gristmill.core.http.conditions import if_match
from gristmill.core.http.convertors import KEY
from gristmill.core.http.routes import Call, Header
from gristmill.jobs.endpoints import WRITE_HEADERS, WriteQuery, answer_write, request_of
from gristmill.records.changes.service import RecordChanges
from gristmill.records.endpoints import hash_without_body, spooled_body
from gristmill.records.spool import BodySpool, Spool
from gristmill.records.submit import Submitter, Write

_PATCH_TYPES = (JSON, "application/merge-patch+json")
_MATCHED = (*WRITE_HEADERS, Header("if-match", "ETags, of which the record's must be one: else 412"))


def build_calls(service: RecordChanges, submitter: Submitter, settings: Settings, spool: Spool) -> list[Call[Any]]:
    """Return the hot calls under /datasets/{dataset}/records that change what is there."""
    # Unlike records these bodies are read as a whole.
    whole = settings.api_max_json_bytes

    async def delete_records(http: Request, _: WriteQuery) -> Response:
        """Delete the records that a filter finds, `{"where": {...}}`, or those with the keys of `{"keys": [...]}`."""
        return await _many(http, service.delete_many, (JSON,))

    async def change_records(http: Request, _: WriteQuery) -> Response:
        """Change the records that a filter finds: `{"where": {...}, "changes": {...}}`."""
        return await _many(http, service.patch_many, (JSON,))

    async def _many(http: Request, write_of: Callable[[str, bytes], Write], types: Sequence[str]) -> Response:
        media_type_of(http, types)
        name = http.path_params["dataset"]
        await submitter.expect(name, lambda: request_of(http))
        async with spooled_body(http, spool, whole) as body:
            request = request_of(http, body.body_hash)
            job_id = await submitter.submit(write_of(name, _content(body)), request)
        return await answer_write(http, job_id, request)

    async def change_record(http: Request, _: WriteQuery) -> Response:
        """Change the members of a record that the JSON object in the body names."""
        media_type_of(http, _PATCH_TYPES)
        name, tags = http.path_params["dataset"], if_match(http)
        await submitter.expect(name, lambda: request_of(http))
        async with spooled_body(http, spool, whole) as body:
            request = request_of(http, body.body_hash)
            write = service.patch(name, http.path_params["key"], _content(body), tags)
            job_id = await submitter.submit(write, request)
        return await answer_write(http, job_id, request)

    async def delete_record(http: Request, _: WriteQuery) -> Response:
        """Delete the record with this key; a composite key is a percent-encoded JSON array."""
        tags = if_match(http)
        request = request_of(http, hash_without_body(http))
        write = service.delete(http.path_params["dataset"], http.path_params["key"], tags)
        return await answer_write(http, await submitter.submit(write, request), request)

    def call(method: str, path: str, endpoint: Any, headers: Sequence[Header]) -> Call[Any]:
        return Call(method, path, "write", endpoint, WriteQuery, "records", headers)

    one = f"/datasets/{{dataset}}/records/{KEY}"
    return [
        call("POST", "/datasets/{dataset}/records/delete", delete_records, WRITE_HEADERS),
        call("PATCH", "/datasets/{dataset}/records", change_records, WRITE_HEADERS),
        call("PATCH", one, change_record, _MATCHED),
        call("DELETE", one, delete_record, _MATCHED),
    ]


def _content(body: BodySpool) -> bytes:
    return body.open().read()
