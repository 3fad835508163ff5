"""Near-duplicates equal the plain answer of comparing all pairs: for bits and for vectors, with ties and clusters."""

import itertools
import math
import struct
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gristmill.core.errors import Unavailable
from gristmill.images.duplicates import bits, vectors
from gristmill.images.duplicates.compare import compare
from gristmill.images.duplicates.errors import TooManyCompared
from gristmill.images.duplicates.groups import Duplicates, Groups, collect

Metric = Literal["cosine", "l2", "inner_product"]
METRICS: list[Metric] = ["cosine", "l2", "inner_product"]
SEEDS = st.integers(0, 2**32 - 1)


def plain(count: int, distance: Callable[[int, int], float], threshold: float) -> list[tuple[int, int, int, float]]:
    """Return (record, group, first of the group, distance to the nearest) by comparing all pairs."""
    nearest = [math.inf] * count
    group = list(range(count))
    for one, other in itertools.combinations(range(count), 2):
        found = distance(one, other)
        if found <= threshold:
            nearest[one], nearest[other] = min(nearest[one], found), min(nearest[other], found)
            low, high = sorted((group[one], group[other]))
            group = [low if label == high else label for label in group]
    found_records = [record for record in range(count) if nearest[record] < math.inf]
    numbers = {label: number for number, label in enumerate(dict.fromkeys(group[r] for r in found_records), 1)}
    firsts = {label: min(r for r in found_records if group[r] == label) for label in numbers}
    return [(r, numbers[group[r]], firsts[group[r]], nearest[r]) for r in found_records]


def shown(found: Duplicates) -> list[tuple[int, int, int, float]]:
    columns = (found.records, found.groups, found.firsts, found.distances)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def every_one(count: int) -> npt.NDArray[np.int64]:
    return np.arange(count, dtype=np.int64)


def of_bits(words: npt.NDArray[np.uint64], threshold: int) -> list[tuple[int, int, int, float]]:
    groups = Groups(len(words))
    bits.link_bits(words, threshold, groups)
    return shown(collect(groups, every_one(len(words)), np.full(len(words), np.inf)))


def of_vectors(matrix: npt.NDArray[np.float32], metric: Metric, threshold: float) -> list[tuple[int, int, int, float]]:
    groups = Groups(len(matrix))
    vectors.link_vectors(matrix, every_one(len(matrix)), metric, threshold, groups)
    return shown(collect(groups, every_one(len(matrix)), np.full(len(matrix), np.inf)))


def plain_bits(words: npt.NDArray[np.uint64], threshold: int) -> list[tuple[int, int, int, float]]:
    numbers = [[int(word) for word in row] for row in words]

    def distance(one: int, other: int) -> float:
        return float(sum((a ^ b).bit_count() for a, b in zip(numbers[one], numbers[other], strict=True)))

    return plain(len(words), distance, threshold)


def plain_vectors(
    matrix: npt.NDArray[np.float32], metric: Metric, threshold: float
) -> list[tuple[int, int, int, float]]:
    def distance(one: int, other: int) -> float:
        a, b = matrix[one].astype(float).tolist(), matrix[other].astype(float).tolist()
        if metric == "l2":
            return math.sqrt(math.fsum((x - y) ** 2 for x, y in zip(a, b, strict=True)))
        product = math.fsum(x * y for x, y in zip(a, b, strict=True))
        if metric == "inner_product":
            return -product
        sizes = [math.fsum(x * x for x in one) for one in (a, b)]
        return max(0.0, round(1.0 - product / math.sqrt(sizes[0]) / math.sqrt(sizes[1]), 12))

    return plain(len(matrix), distance, threshold)


def clustered_words(random: np.random.Generator, count: int, words: int) -> npt.NDArray[np.uint64]:
    centres = random.integers(0, 2**64, (max(1, count // 5), words), np.uint64)
    found = centres[random.integers(0, len(centres), count)]
    for _ in range(int(random.integers(0, 9))):
        flips = np.uint64(1) << random.integers(0, 64, found.shape, np.uint64)
        found ^= np.where(random.random(found.shape) < 0.5, flips, np.uint64(0))
    return found


class TestBits:
    @given(seed=SEEDS, count=st.integers(0, 60), words=st.integers(1, 3), threshold=st.integers(0, 70))
    def test_equal_to_all_pairs(self, seed: int, count: int, words: int, threshold: int) -> None:
        found = clustered_words(np.random.default_rng(seed), count, words)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bits, "_BLOCK_ROWS", 8)
            patch.setattr(bits, "BLOCK_PAIRS", 8 * 16)
            # Bands are used whenever there are fewer pairs in them.
            patch.setattr(bits, "_BUCKET_PAIRS", seed % 3)
            assert of_bits(found, threshold) == plain_bits(found, threshold)

    @given(seed=SEEDS, threshold=st.integers(0, 12))
    @settings(max_examples=20)
    def test_bands_find_what_comparing_everything_finds(self, seed: int, threshold: int) -> None:
        found = clustered_words(np.random.default_rng(seed), 3000, 1)
        banded = of_bits(found, threshold)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bits, "_buckets", lambda *_: None)
            assert of_bits(found, threshold) == banded

    def test_bands_are_used_where_they_pay(self) -> None:
        random = np.random.default_rng(1)
        spread = random.integers(0, 2**64, (20_000, 1), np.uint64)
        assert bits._buckets(spread, 6) is not None
        assert bits._buckets(spread, 40) is None
        assert bits._buckets(np.zeros((20_000, 1), np.uint64), 6) is None


class TestVectors:
    @given(
        seed=SEEDS,
        count=st.integers(1, 40),
        dimensions=st.integers(1, 6),
        metric=st.sampled_from(METRICS),
        pick=st.integers(0, 10**6),
    )
    def test_equal_to_all_pairs_with_ties_at_the_threshold(
        self, seed: int, count: int, dimensions: int, metric: Metric, pick: int
    ) -> None:
        matrix = np.random.default_rng(seed).integers(-3, 4, (count, dimensions)).astype(np.float32)
        # A vector of zeros has no angle, and none is stored.
        matrix[~matrix.any(axis=1)] = 1
        # Some pair is as far apart as the threshold, exactly.
        one, other = np.array([pick % count]), np.array([pick // count % count])
        threshold = float(vectors.distances(matrix, metric, one, other)[0])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vectors, "BLOCK_ROWS", 7)
            self.check(of_vectors(matrix, metric, threshold), plain_vectors(matrix, metric, threshold))

    @given(
        seed=SEEDS,
        metric=st.sampled_from(METRICS),
        size=st.sampled_from([1e-17, 1e-3, 1.0, 1e4, 1e17]),
        noise=st.sampled_from([0.0, 1e-7, 1e-3, 0.3]),
        share=st.floats(0, 0.5),
    )
    def test_equal_to_all_pairs_of_clusters_whatever_their_lengths(
        self, seed: int, metric: Metric, size: float, noise: float, share: float
    ) -> None:
        random = np.random.default_rng(seed)
        centres = random.normal(size=(4, 24))
        matrix = centres[random.integers(0, 4, 50)] + noise * random.normal(size=(50, 24))
        matrix = (matrix * size * random.choice([1.0, 1.0, 2.0, 0.01], (50, 1))).astype(np.float32)
        pairs = np.triu_indices(50, 1)
        found = np.sort(vectors.distances(matrix, metric, *pairs))
        # Between two distances, as sums of fractions may differ in their last digits.
        place = int(share * (len(found) - 2))
        threshold = float((found[place] + found[place + 1]) / 2)
        near = plain_vectors(matrix, metric, threshold)
        if abs(found[place + 1] - found[place]) < 1e-9 * max(abs(found[place]), abs(found[place + 1])):
            return
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(vectors, "BLOCK_ROWS", 16)
            self.check(of_vectors(matrix, metric, threshold), near)

    @pytest.mark.parametrize("metric", METRICS)
    def test_ten_thousand_pairs_in_whole_blocks(self, metric: Metric) -> None:
        random = np.random.default_rng(7)
        matrix = random.normal(size=(300, 64)).astype(np.float32)
        matrix[100:140] = matrix[:40] + np.float32(0.01) * random.normal(size=(40, 64)).astype(np.float32)
        threshold = {"cosine": 0.01, "l2": 0.5, "inner_product": -40.0}[metric]
        self.check(of_vectors(matrix, metric, threshold), plain_vectors(matrix, metric, threshold))

    def test_a_vector_and_twice_itself_have_no_distance_by_the_cosine(self) -> None:
        matrix = np.array([[0.1, 0.2, 0.3], [0.2, 0.4, 0.6], [1, 0, 0]], np.float32)
        assert of_vectors(matrix, "cosine", 0.0) == [(0, 1, 0, 0.0), (1, 1, 0, 0.0)]

    @staticmethod
    def check(found: list[tuple[int, int, int, float]], expected: list[tuple[int, int, int, float]]) -> None:
        assert [row[:3] for row in found] == [row[:3] for row in expected]
        scale = max((abs(row[3]) for row in expected), default=1.0)
        for one, other in zip(found, expected, strict=True):
            assert one[3] == pytest.approx(other[3], rel=1e-9, abs=1e-12 * max(1.0, scale))


def sent_bits(words: npt.NDArray[np.uint64], size: int) -> list[bytes]:
    """Return rows as Postgres sends values of the type bit: how many bits there are, and the bits."""
    return [struct.pack("!i", size) + row.tobytes()[: -(-size // 8)] for row in words]


class TestCompare:
    @given(seed=SEEDS, size=st.sampled_from([64, 40, 128]), threshold=st.integers(0, 9), page=st.integers(1, 9))
    def test_pages_of_bits_that_repeat_are_compared_as_all_pairs_are(
        self, seed: int, size: int, threshold: int, page: int
    ) -> None:
        random = np.random.default_rng(seed)
        words = clustered_words(random, 40, -(-size // 64))
        if size % 64:
            words &= np.uint64((1 << size) - 1)
        words[random.integers(0, 40, 10)] = words[random.integers(0, 40, 10)]
        sent = sent_bits(words, size)
        pages = [(pa.table({"id": range(n, min(n + page, 40))}), sent[n : n + page]) for n in range(0, 40, page)]
        embedding: Any = SimpleNamespace(metric="hamming", storage="bit")
        found = compare(pages, embedding, threshold + 0.5, 40, lambda share: None)
        assert found is not None
        assert shown(found.found) == plain_bits(words, threshold)
        assert found.keys["id"].to_pylist() == list(range(40))

    @given(seed=SEEDS, metric=st.sampled_from(METRICS))
    def test_equal_vectors_are_compared_once_and_counted_each(self, seed: int, metric: Metric) -> None:
        random = np.random.default_rng(seed)
        matrix = random.integers(1, 4, (30, 2)).astype(np.float32)
        head = struct.pack("!hh", 2, 0)
        sent = [head + row.astype(">f4").tobytes() for row in matrix]
        threshold = {"cosine": 0.0, "l2": 0.0, "inner_product": -9.0}[metric]
        embedding: Any = SimpleNamespace(metric=metric, storage="vector")
        found = compare([(pa.table({"id": range(30)}), sent)], embedding, threshold, 30, lambda share: None)
        assert found is not None
        assert shown(found.found) == plain_vectors(matrix, metric, threshold)

    def test_nothing_to_compare_and_too_much(self) -> None:
        embedding: Any = SimpleNamespace(metric="hamming", storage="bit")
        assert compare([], embedding, 1, 10, lambda share: None) is None
        pages = [(pa.table({"id": range(11)}), sent_bits(np.zeros((11, 1), np.uint64), 64))]
        with pytest.raises(TooManyCompared, match="images_max_compared"):
            compare(pages, embedding, 1, 10, lambda share: None)

    def test_a_full_disk_is_something_that_may_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        embedding: Any = SimpleNamespace(metric="hamming", storage="bit")
        pages = [(pa.table({"id": range(50_000)}), sent_bits(np.zeros((50_000, 1), np.uint64), 64))]
        # It takes nothing at all.
        monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: open("/dev/full", "r+b", buffering=0))  # noqa: SIM115 - compare closes it
        with pytest.raises(Unavailable) as caught:
            compare(pages, embedding, 1, 50_000, lambda share: None)
        assert caught.value.retryable


class TestGroups:
    @given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=60), st.integers(1, 9))
    def test_links_in_any_portions_make_the_same_groups(self, links: list[tuple[int, int]], step: int) -> None:
        groups = Groups(31)
        for start in range(0, len(links), step):
            part = np.array(links[start : start + step], np.int64).reshape(-1, 2)
            groups.link(part[:, 0], part[:, 1])
        label = list(range(31))
        for one, other in links:
            low, high = sorted((label[one], label[other]))
            label = [low if found == high else found for found in label]
        assert groups.labels.tolist() == label

    def test_records_that_share_a_node_are_duplicates_where_their_own_distance_says_so(self) -> None:
        groups = Groups(3)
        nodes = np.array([0, 1, 0, 2, 2])
        own: Any = np.array([0.0, 0.0, np.inf])
        assert shown(collect(groups, nodes, own)) == [(0, 1, 0, 0.0), (2, 1, 0, 0.0)]
        groups.link(np.array([1]), np.array([2]))
        groups.nearer(np.array([1, 2]), np.array([0.5, 0.5]))
        assert shown(collect(groups, nodes, own)) == [
            (0, 1, 0, 0.0),
            (1, 2, 1, 0.5),
            (2, 1, 0, 0.0),
            (3, 2, 1, 0.5),
            (4, 2, 1, 0.5),
        ]
