"""Steps that make several rows of one record: parts of texts, members of lists, and their bounds."""

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.embedders import registry
from tests.support.steps import STEPS
from tests.unit.test_steps import table_of, transformed

from gristmill.core.errors import Invalid
from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.transforms.chunks import Chunker
from gristmill.transforms.run import MOST_OUTPUTS, run
from gristmill.transforms.spec import StepContext

MAX_BATCH_BYTES = StepContext().most_bytes

_words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12) | st.sampled_from(
    [
        "the",
        "Gristmill",
        "naïve",
        "🌾🌾🌾",
        "日本語のとても長い文章です",
        "x" * 90,
        "don't",
        "https://example.org/a?b=c",
        "½",
        "ﬁ",
    ]
)
_texts = st.lists(
    st.tuples(_words, st.sampled_from([" ", "\n", "  ", "\t", " \n\n ", "\u00a0", "\u3000"])), max_size=40
).map(lambda parts: "".join(word + blank for word, blank in parts))


@pytest.mark.parametrize("name", ["hashing", "static"])
class TestChunks:
    @settings(max_examples=150)
    @given(text=_texts, tokens=st.integers(8, 40))
    def test_parts_are_short_enough_and_joined_they_are_the_text(self, name: str, text: str, tokens: int) -> None:
        embedder = registry.get(name)
        parts = list(Chunker(embedder, tokens, 0).split(text))
        assert "".join(parts) == text
        assert max(embedder.count_tokens(parts)) <= tokens
        assert all(parts) or parts == [""]

    @settings(max_examples=150)
    @given(text=_texts, tokens=st.integers(8, 30), overlap=st.integers(1, 29))
    @example(text="0:0:0\r0\x1b0 " * 3, tokens=10, overlap=5)
    def test_each_part_begins_with_the_end_of_the_one_before(
        self, name: str, text: str, tokens: int, overlap: int
    ) -> None:
        embedder, overlap = registry.get(name), min(overlap, tokens // 2)
        parts = list(Chunker(embedder, tokens, overlap).split(text))
        assert max(embedder.count_tokens(parts)) <= tokens
        # Where the text may stand after each part: one that repeats itself leaves several overlaps open.
        ends = {len(parts[0])} if text.startswith(parts[0]) else set()
        for part in parts[1:]:
            ends = {
                begin + len(part)
                for end in ends
                for begin in range(max(0, end - len(part)), end + 1)
                if text.startswith(part, begin)
            }
            assert ends
        assert len(text) in ends

    @settings(max_examples=20)
    @given(texts=st.lists(_texts, max_size=6), cut=st.integers(0, 6))
    def test_a_text_is_cut_alike_whatever_was_cut_before_it(self, name: str, texts: list[str], cut: int) -> None:
        chunker = Chunker(registry.get(name), 12, 3)
        for text in texts[:cut]:
            list(chunker.split(text))
        assert [list(chunker.split(text)) for text in texts] == [
            list(Chunker(registry.get(name), 12, 3).split(text)) for text in texts
        ]


def test_long_words_are_not_remembered() -> None:
    chunker = Chunker(registry.get("hashing"), 8, 0)
    for number in range(50):
        list(chunker.split(f"{number}" + "x" * 10_000 + " a b"))
    assert max(map(len, chunker._known)) <= 64


def exploding(**step: Any) -> Contract:
    fields = [{"name": name, "type": type_} for name, type_ in (("n", "integer"), ("text", "text"), ("list", "json"))]
    return load_contract({"name": "x", "fields": fields, "pipeline": [{"op": "explode", "column": "list", **step}]})


class TestExplode:
    def test_a_list_with_too_many_members_is_its_records_error_and_the_others_go_on(self) -> None:
        rows = [{"n": 1, "text": None, "list": [1]}, {"n": 2, "text": None, "list": [0] * (MOST_OUTPUTS + 1)}]
        made, failed = transformed(exploding(), rows)
        assert [(record, row["n"]) for record, row in made] == [(0, 1)]
        assert failed == [1]

    def test_the_longest_list_that_may_be_is_exploded(self) -> None:
        contract = exploding(**{"as": "member", "type": "integer", "place": "place"})
        table = table_of(contract, [{"n": 1, "text": None, "list": [7] * MOST_OUTPUTS}])
        made = run(bind_pipeline(contract, STEPS), table, StepContext())
        assert made.table.num_rows == MOST_OUTPUTS
        assert made.table.column("place")[-1].as_py() == MOST_OUTPUTS

    def test_rows_that_would_take_too_much_memory_are_refused_before_they_are_made(self) -> None:
        rows = [{"n": 1, "text": "x" * 60_000, "list": [0] * (MAX_BATCH_BYTES // 60_000 + 1)}]
        with pytest.raises(Invalid, match=f"more than {MAX_BATCH_BYTES}"):
            transformed(exploding(), rows)
