"""Search by words and hybrid search on real Postgres; what of the contract they need."""

from typing import Any

import numpy as np
import psycopg2
import pytest
from tests.support.embedders import registry
from tests.support.searching import pages, search
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.core.errors import Invalid
from gristmill.datasets.ddl import MAX_WORD_BYTES
from gristmill.datasets.lookup import DatasetLookup
from gristmill.search.errors import NotSearchable
from gristmill.search.query import rank, text
from gristmill.search.query.hybrid import CONSTANT
from gristmill.search.query.service import SearchService

BODY: dict[str, Any] = {
    "name": "notes",
    "fields": [
        {"name": "id", "type": "integer", "required": True},
        {"name": "title", "type": "text"},
        {"name": "body", "type": "text", "max_length": 1_000_000},
    ],
    "key": ["id"],
    "text_search": {"from": ["title", "body"], "language": "english"},
}
EMBEDDED = {**BODY, "embedding": {"dimensions": 2}}
TEXTS = [
    ("Bicycles", "A red bicycle leans on the wall."),
    ("Cars", "Red cars and bicycles share the road."),
    ("Apples", "Green apples, red apples, and a wall of cider."),
    ("Night", "The sky over the mountains."),
    (None, None),
]


@pytest.fixture
def service(database: Database) -> SearchService:
    return SearchService(database, DatasetLookup(), registry)


def keys(answer: dict[str, Any]) -> list[int]:
    return [hit["key"] for hit in answer["hits"]]


def records() -> list[dict[str, Any]]:
    return [{"id": place, "title": title, "body": body} for place, (title, body) in enumerate(TEXTS)]


@pytest.fixture
def notes(database: Database) -> None:
    """Searched by words only."""
    store(database, make_dataset(database, BODY).contract, records())


@pytest.fixture
def embedded(database: Database) -> None:
    """Searched by words and by vectors: the angle grows with the id."""
    vectors = [[float(np.cos(angle)), float(np.sin(angle))] for angle in np.radians([0, 10, 20, 30, 40])]
    store(database, make_dataset(database, EMBEDDED).contract, records(), vectors)


class TestWords:
    def test_all_words_must_occur_in_whatever_form_and_field(self, service: SearchService, notes: None) -> None:
        answer = search(service, "notes", text="red bicycles", mode="text")
        assert sorted(keys(answer)) == [0, 1]
        assert (answer["plan"], answer["complete"]) == ("text", True)
        first, second = answer["hits"]
        assert first["score"] >= second["score"] > 0
        assert "distance" not in first
        assert first["record"]["title"] == "Bicycles"

    @pytest.mark.parametrize(
        ("words", "found"),
        [
            ('"red bicycle"', [0]),
            ("cars or cider", [1, 2]),
            ("red -apples", [0, 1]),
            ("MOUNTAIN", [3]),
            ("mountains & | ! ( : * '", [3]),
            ("elephant", []),
        ],
    )
    def test_words_are_read_as_a_web_search_reads_them(
        self, service: SearchService, notes: None, words: str, found: list[int]
    ) -> None:
        assert sorted(keys(search(service, "notes", text=words, mode="text"))) == found

    def test_a_dataset_with_words_only_is_searched_by_them(self, service: SearchService, notes: None) -> None:
        assert keys(search(service, "notes", text="sky")) == [3]
        with pytest.raises(NotSearchable) as caught:
            search(service, "notes", text="sky", mode="vector")
        assert "mode text" in caught.value.detail

    def test_filters_limits_and_pages(self, service: SearchService, notes: None) -> None:
        everything = search(service, "notes", text="red or sky", mode="text")
        assert sorted(keys(everything)) == [0, 1, 2, 3]
        assert pages(service, "notes", 1, text="red or sky", mode="text") == everything["hits"]
        assert sorted(keys(search(service, "notes", text="red or sky", mode="text", where={"id": {"lt": 2}}))) == [0, 1]
        best = everything["hits"][0]["score"]
        limited = search(service, "notes", text="red or sky", mode="text", min_score=best)
        assert all(hit["score"] >= best for hit in limited["hits"])
        assert limited["complete"] is True

    def test_what_is_replaced_is_found_by_its_new_words(
        self, service: SearchService, database: Database, notes: None
    ) -> None:
        with database.transaction() as connection:
            contract = DatasetLookup().get(connection, "notes").contract
        store(database, contract, [{"id": 3, "title": "Day", "body": "sunny"}], seq=2)
        assert keys(search(service, "notes", text="sky", mode="text")) == []
        assert keys(search(service, "notes", text="sunny day", mode="text")) == [3]

    def test_too_many_matches_to_rank_are_said(
        self, service: SearchService, notes: None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(text, "RANKED_AT_MOST", 2)
        timeouts = iter([None])
        monkeypatch.setattr(rank._Ranking, "run_within", lambda *_: next(timeouts))
        answer = search(service, "notes", text="red", mode="text")
        assert len(answer["hits"]) == 2
        assert answer["complete"] is False
        assert "narrow the search" in answer["incomplete_because"]

    @pytest.mark.parametrize("rule", ["-" * 40, "- " * 10_000, "\n----\n" * 30])
    def test_lines_of_dashes_are_passed_over(self, service: SearchService, notes: None, rule: str) -> None:
        plain = search(service, "notes", text="red", mode="text")
        ruled = search(service, "notes", text=f"{rule}red", mode="text")
        assert ruled["hits"] == plain["hits"] != []

    def test_a_word_that_nests_too_deeply_is_refused(self, service: SearchService, notes: None) -> None:
        with pytest.raises(Invalid) as caught:
            search(service, "notes", text="x-" * 32_000 + "y", mode="text")
        assert (caught.value.violations[0].pointer, caught.value.violations[0].code) == ("/text", "too_complex")

    @pytest.mark.parametrize("words", ["the", "  ", "-", "!&", "-" * 100])
    def test_a_text_without_words_is_refused(self, service: SearchService, notes: None, words: str) -> None:
        with pytest.raises(Invalid) as caught:
            search(service, "notes", text=words, mode="text")
        assert (caught.value.violations[0].pointer, caught.value.violations[0].code) == ("/text", "nothing_to_search")

    @pytest.mark.parametrize("letter", ["a", "ä", "😀", "a-b.cc/d "])
    def test_the_longest_texts_can_be_stored(self, service: SearchService, database: Database, letter: str) -> None:
        """A tsvector is limited to 1 MiB; a record that was accepted must be stored whatever is in it."""
        contract = make_dataset(database, BODY).contract
        words = " ".join(f"{letter}{number:x}" for number in range(300_000))[:1_000_000]
        long = {"id": 1, "title": "beginning", "body": words}
        store(database, contract, [long, {"id": 2, "title": "whole", "body": words[: MAX_WORD_BYTES // 8] + " end"}])
        assert keys(search(service, "notes", text="beginning", mode="text")) == [1]
        assert keys(search(service, "notes", text="end", mode="text")) == [2]

    def test_the_index_serves_it(self, database: Database) -> None:
        contract = make_dataset(database, BODY).contract
        store(database, contract, [{"id": n, "title": f"word{n}", "body": f"more of {n}"} for n in range(3000)])
        connection = psycopg2.connect(database.url.set(drivername="postgresql").render_as_string(False))
        with connection, connection.cursor() as cursor:
            cursor.execute("ANALYZE data.notes")
            cursor.execute(f"EXPLAIN {text.matching(contract, 'data.notes', '', '10')}", {"text": "word77"})
            plan = "\n".join(row[0] for row in cursor.fetchall())
        connection.close()
        assert "Bitmap Index Scan on notes__text" in plan


class TestHybrid:
    def test_scores_are_sums_over_both_rankings(self, service: SearchService, embedded: None) -> None:
        answer = search(service, "notes", text="apples", vector=[1.0, 0.0], mode="hybrid", k=5)
        assert (answer["plan"], answer["complete"]) == ("exact + text", True)
        first = answer["hits"][0]
        assert first["key"] == 2
        assert first["ranks"] == {"vector": 3, "text": 1}
        assert first["score"] == pytest.approx(1 / (CONSTANT + 3) + 1 / (CONSTANT + 1))
        assert first["distance"] == pytest.approx(1 - np.cos(np.radians(20)), abs=1e-6)
        assert [(hit["key"], hit["ranks"]["text"]) for hit in answer["hits"][1:]] == [
            (0, None), (1, None), (3, None), (4, None),
        ]  # fmt: skip

    def test_weights_decide_between_the_rankings(self, service: SearchService, embedded: None) -> None:
        asked: dict[str, Any] = {"text": "sky", "vector": [1.0, 0.0], "mode": "hybrid", "k": 2}
        assert keys(search(service, "notes", **asked, weights={"text": 0}))[0] == 0
        words_only = search(service, "notes", **asked, weights={"vector": 0, "text": 2})
        assert keys(words_only)[0] == 3
        assert words_only["hits"][0]["score"] == pytest.approx(2 / (CONSTANT + 1))

    def test_filters_apply_to_both_and_words_find_what_has_no_vector(
        self, service: SearchService, database: Database, embedded: None
    ) -> None:
        with database.transaction() as connection:
            contract = DatasetLookup().get(connection, "notes").contract
        store(database, contract, [{"id": 8, "title": "apples", "body": None}], [None], seq=2)
        answer = search(service, "notes", text="apples", vector=[1.0, 0.0], mode="hybrid", where={"id": {"ge": 2}})
        found = {hit["key"]: hit for hit in answer["hits"]}
        assert set(found) == {2, 3, 4, 8}
        assert (found[8]["ranks"]["vector"], found[8]["distance"]) == (None, None)

    def test_like_and_text(self, service: SearchService, embedded: None) -> None:
        answer = search(service, "notes", text="red", like=0, mode="hybrid")
        assert 0 not in keys(answer)
        assert keys(answer)[0] == 1

    def test_pages_are_the_one_large_answer(self, service: SearchService, embedded: None) -> None:
        body: dict[str, Any] = {"text": "red", "vector": [0.0, 1.0], "mode": "hybrid"}
        assert pages(service, "notes", 2, **body) == search(service, "notes", **body)["hits"]

    def test_the_text_is_embedded_where_an_embedder_reads_it(self, service: SearchService, database: Database) -> None:
        body = {**BODY, "embedding": {"from": ["title"], "embedder": "hashing"}}
        contract = make_dataset(database, body).contract
        vectors = registry.get("hashing").embed([title or "" for title, _ in TEXTS[:4]]).tolist()
        store(database, contract, records()[:4], vectors)
        answer = search(service, "notes", text="cars", mode="hybrid")
        assert answer["hits"][0]["ranks"] == {"vector": 1, "text": 1}


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "pointer", "code"),
        [
            ({"mode": "text"}, "/text", "missing"),
            ({"mode": "text", "text": "a", "vector": [1, 0]}, "/vector", "not_applicable"),
            ({"mode": "text", "text": 5}, "/text", "wrong_type"),
            ({"mode": "text", "text": "a\0b"}, "/text", "nul"),
            ({"mode": "text", "text": "a", "max_distance": 1}, "/max_distance", "not_applicable"),
            ({"mode": "text", "text": "a", "weights": {}}, "/weights", "not_applicable"),
            ({"mode": "hybrid", "text": "a"}, "/vector", "missing"),
            ({"mode": "hybrid", "vector": [1, 0]}, "/text", "missing"),
            ({"mode": "hybrid", "text": "a", "vector": [1, 0], "like": 1}, "/like", "exactly_one"),
            ({"mode": "hybrid", "text": "a", "like": 1, "min_score": 1}, "/min_score", "not_applicable"),
            ({"mode": "hybrid", "text": "a", "like": 1, "weights": 2}, "/weights", "wrong_type"),
            ({"mode": "hybrid", "text": "a", "like": 1, "weights": {"text": -1}}, "/weights/text", "out_of_range"),
            ({"mode": "hybrid", "text": "a", "like": 1, "weights": {"words": 1}}, "/weights/words", "unknown_member"),
            (
                {"mode": "hybrid", "text": "a", "like": 1, "weights": {"text": 0, "vector": 0}},
                "/weights",
                "out_of_range",
            ),
        ],
    )
    def test_each_mistake_is_named_with_its_place(
        self, service: SearchService, embedded: None, body: Any, pointer: str, code: str
    ) -> None:
        with pytest.raises(Invalid) as caught:
            search(service, "notes", **body)
        assert [(violation.pointer, violation.code) for violation in caught.value.violations] == [(pointer, code)]

    def test_words_need_text_search_in_the_contract(self, service: SearchService, database: Database) -> None:
        make_dataset(database, {**EMBEDDED, "text_search": None})
        for mode in ("text", "hybrid"):
            with pytest.raises(NotSearchable) as caught:
                search(service, "notes", text="a", mode=mode)
            assert '"text_search"' in caught.value.detail
