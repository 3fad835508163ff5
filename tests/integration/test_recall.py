"""Recall learnt and measured: what a curve says of good, bad and odd graphs, and that targets are kept by it."""

import json
import threading
from typing import Any

import numpy as np
import pytest
from tests.support.embedders import registry
from tests.support.recall import BODY, DIMENSIONS, build, clustered, curve_of, fill, learn, searched, segments
from tests.support.stored import make_dataset, store

from gristmill.core.database import Database
from gristmill.datasets.lookup import Dataset, DatasetLookup
from gristmill.search.index.graph import GraphParameters
from gristmill.search.query.curve import EFS, KS, Curve
from gristmill.search.query.service import SearchService
from gristmill.search.recall.learn import OutOfTime, Replaced
from gristmill.search.repository import curves


@pytest.fixture
def dataset(database: Database) -> Dataset:
    return make_dataset(database, BODY)


class TestLearning:
    def test_a_target_is_kept_for_queries_that_nobody_has_stored(self, database: Database, dataset: Dataset) -> None:
        every = clustered(6300)
        stored, queries = every[:6000], every[6000:]
        fill(database, dataset, stored)
        build(database, dataset, GraphParameters(m=6, ef_construction=24))
        measured = learn(database, dataset)
        assert measured.samples >= 100
        efs = []
        for target in (0.9, 0.96, 0.99):
            recall, answers = searched(database, dataset, stored, queries, recall_target=target)
            assert recall >= target - 0.02
            efs.append(answers[0]["ef"])
            assert {answer["recall_known_from"] for answer in answers} == {"records"}
            assert all(answer["expected_recall"] >= target - 0.001 for answer in answers)
        assert efs == sorted(set(efs))
        assert measured.value >= 0.95

    def test_a_bad_graph_needs_more_effort_than_a_good_one(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, clustered(4000))
        needed = []
        for parameters in (GraphParameters(), GraphParameters(m=4, ef_construction=12)):
            build(database, dataset, parameters)
            learn(database, dataset)
            needed.append(curve_of(database, dataset).effort(0.95, 10) or 1001)
        assert needed[0] < needed[1]

    def test_the_default_target_is_the_contracts(self, database: Database) -> None:
        body = {**BODY, "embedding": {"dimensions": DIMENSIONS, "recall_target": 0.9}}
        dataset = make_dataset(database, body)
        stored = clustered(4000)
        fill(database, dataset, stored)
        build(database, dataset, GraphParameters(m=6, ef_construction=24))
        learn(database, dataset)
        targets: list[dict[str, Any]] = [{}, {"recall_target": 0.9}, {"recall_target": 0.97}]
        asked = [searched(database, dataset, stored, stored[:1], **given)[1][0]["ef"] for given in targets]
        assert asked[0] == asked[1] < asked[2]

    def test_a_target_that_no_walk_reaches_is_compared_or_said(
        self, database: Database, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stored = clustered(2000)
        fill(database, dataset, stored)
        build(database, dataset)
        poor = Curve(KS, EFS, ((0.9,) * 8,) * 4, ((0.0,) * 8,) * 4, 100, "records")
        with database.autocommit() as connection:
            curves.store_curve(connection, segments(database, dataset)[0].id, poor.as_json(), 1.0)
        recall, answers = searched(database, dataset, stored, stored[:3], explain=True)
        said = {name: answers[0][name] for name in ("plan", "ef", "expected_recall", "recall_known_from")}
        assert (recall, said) == (
            1.0,
            {"plan": "exact", "ef": None, "expected_recall": 1.0, "recall_known_from": "exact"},
        )
        # Of so many records that comparing all would take long, what walks find is given, and what that is worth.
        monkeypatch.setattr("gristmill.search.query.catalogue.MOST_COMPARED", 0)
        _, answers = searched(database, dataset, stored, stored[:3])
        assert (answers[0]["plan"], answers[0]["ef"], answers[0]["expected_recall"]) == ("segments", 1000, 0.9)
        assert "0.9000" in answers[0]["below_target_because"]

    def test_vectors_that_were_searched_by_are_taken_instead_of_records(self, database: Database) -> None:
        body = {**BODY, "embedding": {"dimensions": DIMENSIONS, "keep_queries": True}}
        dataset = make_dataset(database, body)
        fill(database, dataset, clustered(3000))
        build(database, dataset)
        with database.autocommit() as connection:
            for slot, vector in enumerate(clustered(120, seed=3)):
                curves.keep_query(connection, dataset.id, slot, str(vector.tolist()))
        learn(database, dataset)
        curve = curve_of(database, dataset)
        assert (curve.source, curve.queries) == ("queries", 120)

    @pytest.mark.parametrize(
        ("name", "metric", "storage"),
        [("a", "l2", "vector"), ("b", "inner_product", "vector"), ("c", "cosine", "halfvec")],
    )
    def test_every_metric_and_storage(self, database: Database, name: str, metric: str, storage: str) -> None:
        embedding = {"dimensions": DIMENSIONS, "metric": metric, "storage": storage}
        dataset = make_dataset(database, {**BODY, "name": name, "embedding": embedding})
        fill(database, dataset, clustered(2000))
        build(database, dataset)
        assert learn(database, dataset).value >= 0.95
        # What a walk with the largest effort finds is what numpy calls the nearest.
        assert curve_of(database, dataset).recall[0][-1] >= 0.99

    def test_bits(self, database: Database) -> None:
        dataset = make_dataset(database, {**BODY, "name": "bits", "embedding": {"dimensions": 60, "metric": "hamming"}})
        bits = clustered(2000, dimensions=60) > 0
        texts: Any = ["".join("01"[int(bit)] for bit in row) for row in bits]
        store(database, dataset.contract, [{"id": n} for n in range(2000)], texts)
        build(database, dataset)
        assert learn(database, dataset).value >= 0.95
        assert curve_of(database, dataset).recall[0][-1] >= 0.99


class TestOddData:
    def test_ten_records_are_compared(self, database: Database, dataset: Dataset) -> None:
        stored = clustered(10)
        fill(database, dataset, stored)
        recall, answers = searched(database, dataset, stored, stored[:3], k=5)
        assert recall == 1.0
        said = {name: answers[0][name] for name in ("plan", "ef", "expected_recall", "recall_known_from", "complete")}
        expected = {"plan": "exact", "ef": None, "expected_recall": 1.0, "recall_known_from": "exact", "complete": True}
        assert said == expected

    def test_identical_vectors(self, database: Database, dataset: Dataset) -> None:
        stored = np.ones((1500, DIMENSIONS))
        fill(database, dataset, stored)
        build(database, dataset)
        assert learn(database, dataset).value == 1.0
        assert searched(database, dataset, stored, stored[:2])[0] == 1.0

    def test_one_cluster_and_an_outlier(self, database: Database, dataset: Dataset) -> None:
        random = np.random.default_rng(5)
        stored = np.ones((3000, DIMENSIONS)) + 0.05 * random.normal(size=(3000, DIMENSIONS))
        stored[1700] = -stored[0]
        fill(database, dataset, stored)
        build(database, dataset)
        learn(database, dataset)
        queries = np.ones((60, DIMENSIONS)) + 0.05 * random.normal(size=(60, DIMENSIONS))
        recall, answers = searched(database, dataset, stored, queries)
        assert recall >= 0.96 or "below_target_because" in answers[0]
        recall, _ = searched(database, dataset, stored, stored[1700:1701], k=1)
        assert recall == 1.0

    def test_what_is_learnt_between_two_pages_does_not_change_the_ranking(
        self, database: Database, dataset: Dataset
    ) -> None:
        stored = clustered(3000)
        fill(database, dataset, stored)
        build(database, dataset)
        learn(database, dataset)
        body: dict[str, Any] = {"vector": stored[3].tolist(), "k": 20, "page_size": 8}

        def search(**more: Any) -> dict[str, Any]:
            # Each time by another process, which has read the catalogue just now.
            service = SearchService(database, DatasetLookup(), registry)
            return service.search(dataset.name, json.dumps({**body, **more}).encode())

        first = search()
        other = Curve(KS, EFS, ((0.97,) * 6 + (0.99, 0.99),) * 4, ((0.0,) * 8,) * 4, 100, "records")
        with database.autocommit() as connection:
            for segment in segments(database, dataset):
                curves.store_curve(connection, segment.id, other.as_json(), 1.0)
        assert search(page_token=first["next_page_token"])["ef"] == first["ef"]
        assert search()["ef"] > first["ef"]

    @pytest.mark.parametrize("share", [0.5, 0.1, 0.01])
    def test_filters_keep_the_target(self, database: Database, dataset: Dataset, share: float) -> None:
        every = clustered(6200, seed=8)
        stored, queries = every[:6000], every[6000:]
        fill(database, dataset, stored)
        build(database, dataset, GraphParameters(m=8, ef_construction=32))
        learn(database, dataset)
        part = np.random.default_rng(0).permutation(6000)
        kept = stored[part < 6000 * share]
        recall, answers = searched(database, dataset, kept, queries, where={"part": {"lt": int(6000 * share)}})
        assert recall >= 0.97
        assert all(answer["complete"] for answer in answers)


class TestEnds:
    """What ends learning before its end."""

    def test_its_time_is_used_up(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, clustered(3000))
        build(database, dataset)
        with pytest.raises(OutOfTime):
            learn(database, dataset, seconds=0.01)
        assert segments(database, dataset)[0].curve is None

    def test_the_job_is_cancelled(self, database: Database, dataset: Dataset) -> None:
        class Cancelled(Exception):
            pass

        def check() -> None:
            raise Cancelled

        fill(database, dataset, clustered(3000))
        build(database, dataset)
        with pytest.raises(Cancelled):
            learn(database, dataset, check=check)

    def test_the_segment_is_replaced_meanwhile(self, database: Database, dataset: Dataset) -> None:
        fill(database, dataset, clustered(3000))
        build(database, dataset)
        old = segments(database, dataset)[0]
        calls = []

        def check() -> None:
            calls.append(1)
            if len(calls) == 4:
                thread = threading.Thread(target=build, args=(database, dataset))
                thread.start()
                thread.join()

        with pytest.raises(Replaced):
            learn(database, dataset, check=check)
        now = segments(database, dataset)
        assert [one.id for one in now] != [old.id]
        assert [one.curve for one in now] == [None]
