"""Search by an uploaded image over HTTP: by the client, by a form as curl sends it, and from the command line."""

import asyncio
import base64
import json
from pathlib import Path

import httpx
import pytest
from tests.support.images import PHOTOGRAPHS, encoded, hostile, photograph
from tests.support.rest import Rest

from gristmill.client import AsyncClient, Client, InvalidRequest

CONTRACT = {
    "fields": [
        {"name": "k", "type": "integer", "required": True},
        {"name": "photo", "type": "image"},
        {"name": "odd", "type": "boolean"},
    ],
    "key": ["k"],
    "embedding": {"from": ["photo"], "embedder": "image_hash"},
}
PHOTOS = [encoded(photograph(name, (160, 120))) for name in PHOTOGRAPHS]


@pytest.fixture(scope="module")
def name(rest: Rest) -> str:
    made = rest.create(CONTRACT)
    records = [{"k": k, "photo": base64.b64encode(data).decode(), "odd": bool(k % 2)} for k, data in enumerate(PHOTOS)]
    rest.store(made, records)
    return made


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    path = tmp_path / "copy.jpg"
    path.write_bytes(encoded(photograph(PHOTOGRAPHS[3], (300, 200)), quality=70))
    return path


def url(rest: Rest, name: str) -> str:
    return f"{rest.http.base_url}/api/v1/datasets/{name}/search"


def test_the_client_finds_the_original_of_a_copy(rest: Rest, name: str, copy: Path) -> None:
    with Client(str(rest.http.base_url)) as client:
        answers = [client.search(name, image=one, k=2) for one in (copy, str(copy), copy.read_bytes())]
        (several,) = client.search_many(name, [{"image": copy.read_bytes()}], k=2)
        pages = list(client.search_pages(name, image=copy, k=4, page_size=1))
        with pytest.raises(InvalidRequest, match="image"):
            client.search(name, image=hostile()["truncated_jpeg"])

    async def ask() -> object:
        async with AsyncClient(str(rest.http.base_url)) as other:
            return (await other.search(name, image=copy, k=2))["hits"]

    for answer in answers:
        assert answer["hits"][0]["key"] == 3
        assert answer["hits"][0]["distance"] <= 6
        assert answer["hits"] == several["hits"] == pages[:2] == asyncio.run(ask())
    assert len({hit["key"] for hit in pages}) == 4


def test_a_form_is_answered_as_the_same_search_in_json(rest: Rest, name: str, copy: Path) -> None:
    query = {"k": 3, "where": {"odd": False}}
    form = httpx.post(
        url(rest, name),
        files={"image": ("copy.jpg", copy.read_bytes(), "image/jpeg")},
        data={"query": json.dumps(query)},
    )
    sent = {**query, "image": base64.b64encode(copy.read_bytes()).decode()}
    plain = httpx.post(url(rest, name), json=sent)
    assert form.status_code == plain.status_code == 200, form.text
    assert form.json()["hits"] == plain.json()["hits"]
    assert all(hit["record"]["odd"] is False for hit in form.json()["hits"])


@pytest.mark.parametrize("kind", list(hostile()))
def test_no_hostile_file_is_more_than_a_refusal(rest: Rest, name: str, kind: str) -> None:
    answer = httpx.post(url(rest, name), files={"image": ("x", hostile()[kind])})
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/image"


def test_a_body_beyond_the_limit_is_refused(rest: Rest, name: str) -> None:
    assert httpx.post(url(rest, name), files={"image": ("x", b"x" * (5 * 1024 * 1024))}).status_code == 422
    assert httpx.post(url(rest, name), files={"image": ("x", b"x" * (9 * 1024 * 1024))}).status_code == 413
