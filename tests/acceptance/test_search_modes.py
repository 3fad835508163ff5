"""Search over REST, of records that came in as jobs: by words, by both, several at once, in pages."""

import pytest
from tests.support.refusals import place, refused
from tests.support.rest import Json, Rest

CONTRACT: Json = {
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "title", "type": "text"},
        {"name": "year", "type": "integer", "filterable": True},
    ],
    "key": ["id"],
    "embedding": {"from": ["title"], "embedder": "hashing"},
    "text_search": {"from": ["title"], "language": "english"},
}
TITLES = ["a red bicycle", "green apples", "red bicycles and cars", "the night sky", "cars in the night"]


@pytest.fixture(scope="module")
def name(rest: Rest) -> str:
    found = rest.create(CONTRACT)
    # More than a few records are copied, fewer are inserted: both ways fill the column of words.
    rest.store(found, [{"id": 100 + n, "title": f"filler number {n}", "year": 1900 + n % 50} for n in range(400)])
    rest.store(found, [{"id": n, "title": title, "year": 2000 + n} for n, title in enumerate(TITLES)])
    return found


def search(rest: Rest, name: str, **body: object) -> Json:
    answer = rest.http.post(f"/api/v1/datasets/{name}/search", json=body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


def keys(answer: Json) -> list[int]:
    return [hit["key"] for hit in answer["hits"]]


class TestModes:
    def test_words(self, rest: Rest, name: str) -> None:
        found = search(rest, name, mode="text", text="car or apple")
        assert sorted(keys(found)) == [1, 2, 4]
        assert (found["plan"], found["complete"]) == ("text", True)
        assert keys(search(rest, name, mode="text", text="filler 399")) == [499]

    def test_hybrid(self, rest: Rest, name: str) -> None:
        found = search(rest, name, mode="hybrid", text="red bicycle", k=3, where={"year": {"ge": 2000}})
        assert set(keys(found)[:2]) == {0, 2}
        assert found["hits"][0]["ranks"]["text"] in (1, 2)

    def test_what_is_replaced_is_found_by_its_new_words(self, rest: Rest) -> None:
        other = rest.create(CONTRACT)
        rest.store(other, [{"id": 1, "title": "old words"}])
        rest.store(other, [{"id": 1, "title": "new words"}])
        assert keys(search(rest, other, mode="text", text="old")) == []
        assert keys(search(rest, other, mode="text", text="new")) == [1]
        rest.succeeded(rest.http.patch(rest.record(other, 1), json={"title": "changed"}, params={"wait": 30}))
        assert keys(search(rest, other, mode="text", text="changed")) == [1]

    def test_several_queries_and_pages(self, rest: Rest, name: str) -> None:
        together = search(rest, name, queries=[{"text": "green apples"}, {"like": 0}], k=2)
        assert [keys(answer)[0] for answer in together["answers"]] == [1, 2]
        whole = keys(search(rest, name, text="red night", k=7))
        first = search(rest, name, text="red night", k=7, page_size=5)
        second = search(rest, name, text="red night", k=7, page_size=5, page_token=first["next_page_token"])
        assert keys(first) + keys(second) == whole
        assert second["next_page_token"] is None

    def test_text_search_cannot_be_added_later(self, rest: Rest, name: str) -> None:
        answer = rest.http.patch(f"/api/v1/datasets/{name}", json={"text_search": {"from": ["title"]}})
        assert place(refused(answer, 422, "invalid")) == ("/text_search", "fixed")

    def test_the_contract_is_checked(self, rest: Rest) -> None:
        wrong = {**CONTRACT, "name": "wrong", "text_search": {"from": ["title", "year"], "language": "klingon"}}
        problem = refused(rest.http.post("/api/v1/datasets", json=wrong), 422, "invalid")
        assert [error["pointer"] for error in problem["errors"]] == ["/text_search/from/1", "/text_search/language"]
