"""Images of records over real HTTP: by the client, blocking and not, and by plain requests; odd keys among them."""

import asyncio
import base64
import io
from collections.abc import Iterator

import pytest
from PIL import Image
from tests.support.images import encoded, photograph
from tests.support.rest import Rest

from gristmill.client.async_client import AsyncClient
from gristmill.client.client import Client
from gristmill.client.errors import InvalidRequest, NotFound

PHOTO = encoded(photograph("chelsea.png", (451, 300)))
KEYS = ["1", "a/image", "a%2Fimage", "image", "..", ".", "ü ?#&", "a//b", '["x"]']


@pytest.fixture(scope="module")
def name(rest: Rest) -> str:
    fields = [{"name": "id", "type": "text", "required": True}, {"name": "photo", "type": "image"}]
    found = rest.create({"fields": fields, "key": ["id"]})
    photo = base64.b64encode(PHOTO).decode()
    broken = base64.b64encode(PHOTO[:2000]).decode()
    records = [*({"id": key, "photo": photo} for key in KEYS), {"id": "null"}, {"id": "broken", "photo": broken}]
    rest.succeeded(rest.post(found, records, params={"wait": 30}))
    return found


@pytest.fixture(scope="module")
def client(rest: Rest) -> Iterator[Client]:
    with Client(str(rest.http.base_url)) as found:
        yield found


def test_the_client_gets_files_and_thumbnails_by_any_key(client: Client, rest: Rest, name: str) -> None:
    async def small(key: str) -> bytes:
        async with AsyncClient(str(rest.http.base_url)) as other:
            found: bytes = await other.image(name, key, size=128)
            return found

    for key in KEYS:
        assert client.record(name, key)["id"] == key
        assert client.image(name, key) == PHOTO
        data = client.image(name, key, "photo", 128)
        assert Image.open(io.BytesIO(data)).size == (128, 85)
        assert asyncio.run(small(key)) == data


def test_what_is_wrong_is_an_error_of_its_kind(client: Client, name: str) -> None:
    for key in ("null", "nobody"):
        with pytest.raises(NotFound):
            client.image(name, key, size=64)
    with pytest.raises(InvalidRequest) as caught:
        client.image(name, "broken", size=64)
    assert "image_broken" in str(caught.value.problem)
    for options in ({"size": 15}, {"field": "id"}):
        with pytest.raises(InvalidRequest):
            client.image(name, "1", **options)  # type: ignore[arg-type]


def test_plain_requests_are_conditional_and_have_heads(rest: Rest, name: str) -> None:
    path = f"/api/v1/datasets/{name}/records/1/image?size=100"
    whole = rest.http.get(path)
    assert (whole.status_code, whole.headers["content-type"]) == (200, "image/jpeg")
    assert whole.headers["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in whole.headers
    head = rest.http.head(path)
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(whole.content)))
    same = rest.http.get(path, headers={"If-None-Match": whole.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    part = rest.http.get(path, headers={"Range": "bytes=-10"})
    assert (part.status_code, part.content) == (206, whole.content[-10:])
