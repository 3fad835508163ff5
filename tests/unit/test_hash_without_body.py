"""What stands for a request in its Idempotency-Key, where the call takes no body."""

import asyncio

import pytest
from starlette.requests import Request

from gristmill.records.endpoints import hash_without_body, spooled_body
from gristmill.records.spool import Spool


def request(*headers: tuple[bytes, bytes]) -> Request:
    async def nothing() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    path = "/api/v1/datasets/d/records/a"
    scope = {"type": "http", "method": "DELETE", "path": path, "query_string": b"label=a%3Db", "headers": [*headers]}
    return Request(scope, nothing)


@pytest.mark.parametrize("more", [(), ((b"if-match", b'"1.0.1"'),), ((b"content-type", b"application/json"),)])
def test_it_is_that_of_an_empty_body_so_that_keys_of_the_release_before_are_good(
    more: tuple[tuple[bytes, bytes], ...],
) -> None:
    headers = ((b"idempotency-key", b"k"), *more)

    async def spooled() -> str | None:
        async with spooled_body(request(*headers), Spool("", 10**6), 1000) as body:
            return body.body_hash

    assert hash_without_body(request(*headers)) == asyncio.run(spooled()) is not None


def test_without_a_key_there_is_none() -> None:
    assert hash_without_body(request()) is None
