"""One conformance suite for every embedder, and what is particular to each."""

import builtins
import logging
import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from tests.support.embedders import registry

from gristmill.embeddings import batching
from gristmill.embeddings.errors import EmbedderNotInstalled, UnknownEmbedder
from gristmill.embeddings.port import Embedder
from gristmill.embeddings.providers import hashing, static
from gristmill.embeddings.providers.static import StaticEmbedder

TEXTS = [
    "Light rain over the harbour",
    "a library for reading compressed archives",
    "Grüße aus Köln 😀",
    "中文分词",
    "x",
]


@pytest.fixture(params=registry.of_texts.names())
def embedder(request: pytest.FixtureRequest) -> Embedder:
    return registry.get(request.param)


class TestEveryEmbedder:
    def test_the_description_is_what_the_loaded_embedder_says(self, embedder: Embedder) -> None:
        description = registry.describe(embedder.name)
        assert description == (embedder.name, embedder.version, embedder.dimensions)

    def test_the_answer_is_one_float32_row_of_length_one_per_text(self, embedder: Embedder) -> None:
        vectors = embedder.embed(TEXTS)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(TEXTS), embedder.dimensions)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)

    def test_no_texts_give_no_rows(self, embedder: Embedder) -> None:
        assert embedder.embed([]).shape == (0, embedder.dimensions)

    def test_texts_with_nothing_to_embed_give_nan_and_leave_their_neighbours_alone(self, embedder: Embedder) -> None:
        vectors = embedder.embed(["", TEXTS[0], "   ", "\n\t", TEXTS[1], ""])
        assert np.isnan(vectors[[0, 2, 3, 5]]).all()
        np.testing.assert_array_equal(vectors[[1, 4]], embedder.embed(TEXTS[:2]))

    def test_a_vector_does_not_depend_on_its_batch(self, embedder: Embedder) -> None:
        together = embedder.embed(TEXTS * 500)
        for index, text in enumerate(TEXTS):
            np.testing.assert_array_equal(embedder.embed([text])[0], together[index])
            np.testing.assert_array_equal(embedder.embed([text])[0], together[-len(TEXTS) + index])

    def test_the_same_texts_give_the_same_vectors_in_another_process(self, embedder: Embedder) -> None:
        script = (
            "import hashlib, sys; from tests.support.embedders import registry; "
            f"print(hashlib.sha256(registry.get({embedder.name!r}).embed({TEXTS!r}).tobytes()).hexdigest())"
        )
        environment = {**os.environ, "PYTHONHASHSEED": "7"}
        answers = {
            subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, check=True).stdout
            for _ in range(2)
        }
        assert len(answers) == 1

    def test_texts_are_never_cut(self, embedder: Embedder) -> None:
        long = "harbour rain " * 20_000
        assert not np.array_equal(embedder.embed([long])[0], embedder.embed([long + "locomotive " * 500])[0])

    def test_the_closest_text_shares_the_subject(self, embedder: Embedder) -> None:
        texts = ["heavy rain and thunderstorms", "reading of compressed archives", "a bridge over the river"]
        query = embedder.embed(["archives that are compressed"])[0]
        assert int(np.argmax(embedder.embed(texts) @ query)) == 1


class TestStatic:
    def test_meaning_counts_where_no_word_is_shared(self) -> None:
        texts = ["a doctor treats the patient", "the guitar has six strings", "trains leave every hour"]
        embedder = registry.get("static")
        assert int(np.argmax(embedder.embed(texts) @ embedder.embed(["medicine and nursing in hospital"])[0])) == 0

    def test_loading_leaves_the_log_configuration_alone(self) -> None:
        root = logging.getLogger()
        before = (root.handlers[:], root.level)
        script = (
            "import logging; from tests.support.embedders import registry; registry.get('static'); "
            "root = logging.getLogger(); assert (root.handlers, root.level) == ([], logging.WARNING)"
        )
        subprocess.run([sys.executable, "-c", script], check=True)
        assert (root.handlers, root.level) == before

    def test_describing_it_loads_neither_library_nor_weights(self) -> None:
        script = (
            "import sys; from tests.support.embedders import registry; registry.describe('static'); "
            "assert not {'wordllama', 'tokenizers', 'safetensors'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", script], check=True)

    def test_without_the_library_the_error_names_the_extra(self, monkeypatch: pytest.MonkeyPatch) -> None:
        real = builtins.__import__

        def refuse(name: str, *args: Any, **kwargs: Any) -> Any:
            if name == "wordllama":
                raise ImportError(name)
            return real(name, *args, **kwargs)

        monkeypatch.setattr(builtins, "__import__", refuse)
        # Weights that another test has loaded stay.
        monkeypatch.setattr(static, "_load", static._load.__wrapped__)
        with pytest.raises(EmbedderNotInstalled, match=r"gristmill\[static\]"):
            StaticEmbedder(batching.BatchLimits())


class TestHashing:
    def test_spelling_variants_stay_close(self) -> None:
        colour, color, engine = registry.get("hashing").embed(["colourful", "colorful", "locomotive"])
        assert colour @ color > colour @ engine + 0.3

    def test_punctuation_alone_is_nothing_to_embed(self) -> None:
        assert np.isnan(registry.get("hashing").embed(["?!", "…"])).all()

    def test_the_vectors_of_this_version_are_pinned(self) -> None:
        """A change of any vector needs a new version: the stored ones would no longer be comparable."""
        assert hashing.VERSION == "1"
        vector = registry.get("hashing").embed(["Light rain over the harbour"])[0]
        assert np.flatnonzero(vector)[:5].tolist() == PINNED_PLACES
        np.testing.assert_allclose(vector[PINNED_PLACES], PINNED_VALUES, rtol=1e-5)


class TestBatches:
    def test_a_batch_is_bounded_in_texts_and_characters(self) -> None:
        texts = ["x"] * 3000 + ["y" * 100_000] * 3 + ["z" * 1_000_000, "tail"]
        limits = batching.BatchLimits()
        found = list(batching.batches(texts, limits))
        assert [text for _, batch in found for text in batch] == texts
        assert [first for first, _ in found] == [0, 1024, 2048, 3001, 3002, 3003, 3004]
        for _, batch in found:
            assert len(batch) <= limits.texts
            assert len(batch) == 1 or sum(map(len, batch)) <= limits.characters


class TestRegistry:
    def test_an_unknown_name_is_refused_with_the_valid_ones(self) -> None:
        with pytest.raises(UnknownEmbedder, match="'bert'; choose one of: hashing, image_hash, image_layout, static"):
            registry.get("bert")

    def test_an_embedder_is_loaded_once(self) -> None:
        assert registry.get("hashing") is registry.get("hashing")


PINNED_PLACES = [4, 14, 23, 38, 49]
PINNED_VALUES = [-0.280056, 0.140028, -0.140028, -0.140028, 0.280056]
