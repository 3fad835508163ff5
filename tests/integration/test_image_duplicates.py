"""Near-duplicates of a dataset, from the request to the rows of the result."""

import json
import math
import uuid
from typing import Any, ClassVar

import numpy as np
import pytest
from tests.support.in_process import InProcess

from gristmill.images.duplicates import compare as comparing

URL = "/api/v1/datasets"
Json = dict[str, Any]


def new_name() -> str:
    return f"d_{uuid.uuid4().hex[:8]}"


def contract(metric: str = "l2", dimensions: int = 2, **more: Any) -> Json:
    return {
        "fields": [
            {"name": "id", "type": "integer", "required": True},
            {"name": "shop", "type": "text", "required": True, "max_length": 20},
            {"name": "price", "type": "float"},
        ],
        "key": ["shop", "id"],
        "embedding": {"dimensions": dimensions, "metric": metric},
        **more,
    }


def work(app: InProcess) -> None:
    while app.work() + app.work(queue="long"):
        pass


def filled(app: InProcess, body: Json, records: list[Json]) -> str:
    name = app.dataset(body)
    answer = app.http.post(f"{URL}/{name}/records", json=records)
    assert answer.status_code == 202, answer.text
    return name


def vectors(*pairs: tuple[float, ...]) -> list[Json]:
    return [{"shop": "a", "id": n, "price": n, "_embedding": list(pair)} for n, pair in enumerate(pairs)]


def find(app: InProcess, name: str, **body: Any) -> Any:
    return app.http.post(f"{URL}/{name}/images/duplicates", json={"threshold": 1.0, "into": new_name(), **body})


def found(app: InProcess, answer: Any) -> tuple[Json, list[Json]]:
    assert answer.status_code == 202, answer.text
    work(app)
    job = app.http.get(answer.json()["links"]["self"]).json()
    assert job["state"] == "succeeded", job
    return job, app.rows(job["dataset"])


class TestResult:
    def test_each_record_that_has_a_duplicate_is_a_row_with_its_group(self, app: InProcess) -> None:
        records = vectors((0, 0.5), (5, 5), (0, 1.5), (5, 6), (50, 50), (5, 5))
        name = filled(app, contract(), [*reversed(records)])
        job, rows = found(app, find(app, name))
        assert rows == [
            {"shop": "a", "id": 0, "group": 1, "of_shop": "a", "of_id": 0, "distance": 1.0},
            {"shop": "a", "id": 1, "group": 2, "of_shop": "a", "of_id": 1, "distance": 0.0},
            {"shop": "a", "id": 2, "group": 1, "of_shop": "a", "of_id": 0, "distance": 1.0},
            {"shop": "a", "id": 3, "group": 2, "of_shop": "a", "of_id": 1, "distance": 1.0},
            {"shop": "a", "id": 5, "group": 2, "of_shop": "a", "of_id": 1, "distance": 0.0},
        ]
        assert (job["type"], job["result"]["rows"]) == ("images.duplicates", 5)
        assert (job["result"]["compared"], job["result"]["groups"]) == (6, 2)
        made = app.http.get(f"{URL}/{job['dataset']}").json()
        assert made["contract"]["key"] == ["shop", "id"]
        assert name in made["contract"]["title"]
        assert "at most 1 (l2)" in made["contract"]["description"]
        answer = app.http.post(f"{URL}/{job['dataset']}/records/query", json={"where": {"group": 2}})
        assert [row["id"] for row in answer.json()["records"]] == [1, 3, 5]

    @pytest.mark.parametrize(
        ("metric", "threshold", "expected"),
        [
            ("cosine", 0.0, [0, 1]),
            ("inner_product", -24.0, [1, 2]),
            ("l2", 2.236067978, [0, 1, 2]),
            ("l2", 2.0, [1, 2]),
            ("l2", 1.9, []),
        ],
    )
    def test_the_threshold_is_a_distance_of_the_metric(
        self, app: InProcess, metric: str, threshold: float, expected: list[int]
    ) -> None:
        name = filled(app, contract(metric), vectors((1, 2), (2, 4), (4, 4), (-9, 1)))
        _, rows = found(app, find(app, name, threshold=threshold))
        assert [row["id"] for row in rows] == expected

    @pytest.mark.parametrize(
        ("field", "values"),
        [
            ({"type": "decimal", "precision": 10, "scale": 3}, ["-1.500", "0.000", "12.250"]),
            ({"type": "decimal"}, ["-1.5", "0.00", "12345678901234567890.25"]),
            ({"type": "date"}, ["2026-01-01", "2026-01-02", "2026-01-03"]),
            ({"type": "timestamp"}, [f"2026-01-01T00:00:00.00000{n}Z" for n in (1, 2, 3)]),
            ({"type": "duration"}, ["PT0.000001S", "PT1S", "PT1M"]),
            ({"type": "uuid"}, [str(uuid.UUID(int=n)) for n in (1, 2, 3)]),
            ({"type": "boolean"}, [False, True]),
        ],
    )
    def test_keys_of_every_type_read_back_equal(self, app: InProcess, field: Json, values: list[Any]) -> None:
        body = contract(fields=[{"name": "id", "required": True, **field}], key=["id"])
        name = filled(app, body, [{"id": value, "_embedding": [n, 1]} for n, value in enumerate(values)])
        _, rows = found(app, find(app, name, threshold=5))
        assert [row["id"] for row in rows] == values
        assert {row["of_id"] for row in rows} == {values[0]}

    @pytest.mark.parametrize("storage", ["vector", "halfvec"])
    def test_equal_to_the_plain_answer_over_many_pages(
        self, app: InProcess, storage: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("gristmill.images.duplicates.repository.PAGE_RECORDS", 37)
        monkeypatch.setattr("gristmill.images.duplicates.vectors.BLOCK_ROWS", 64)
        random = np.random.default_rng(3)
        centres = random.normal(size=(60, 8))
        matrix = centres[random.integers(0, 60, 300)] + 0.02 * random.normal(size=(300, 8))
        matrix = matrix.astype(np.float16).astype(np.float64)
        records = vectors(*map(tuple, matrix.tolist()))
        body = contract("cosine", 8)
        body["embedding"]["storage"] = storage
        _, rows = found(app, find(app, filled(app, body, records), threshold=0.0007))
        unit = matrix / np.linalg.norm(matrix, axis=1)[:, None]
        distance = 1 - unit @ unit.T
        np.fill_diagonal(distance, math.inf)
        nearest = distance.min(axis=1)
        assert [row["id"] for row in rows] == np.flatnonzero(nearest <= 0.0007).tolist()
        assert [row["distance"] for row in rows] == pytest.approx(nearest[nearest <= 0.0007], abs=1e-9)
        for row in rows:
            others = [other for other in rows if other["group"] == row["group"] and other is not row]
            assert min(distance[row["id"], other["id"]] for other in others) == pytest.approx(row["distance"], abs=1e-9)
            assert row["of_id"] == min(other["id"] for other in [*others, row])

    def test_records_without_a_vector_and_those_that_the_filter_leaves_out_are_not_compared(
        self, app: InProcess
    ) -> None:
        records = vectors((1, 1), (1, 1), (1, 1), (9, 9), (9, 9))
        records[1]["_embedding"] = records[3]["_embedding"] = None
        name = filled(app, contract(), records)
        assert [row["id"] for row in found(app, find(app, name))[1]] == [0, 2]
        job, rows = found(app, find(app, name, where={"price": {"gt": 0}}))
        assert (rows, job["result"]["compared"]) == ([], 2)
        job, rows = found(app, find(app, name, where={"price": {"gt": 100}}))
        assert (rows, job["result"]["compared"], job["result"]["groups"]) == ([], 0, 0)

    @pytest.mark.promise(3)
    def test_what_was_submitted_before_it_is_compared_and_nothing_later(self, app: InProcess) -> None:
        name = filled(app, contract(), vectors((1, 1)))
        app.http.post(f"{URL}/{name}/records", json=[{"shop": "b", "id": 7, "_embedding": [1, 1]}])
        answer = find(app, name)
        app.http.post(f"{URL}/{name}/records", json=[{"shop": "c", "id": 7, "_embedding": [1, 1]}])
        assert [row["shop"] for row in found(app, answer)[1]] == ["a", "b"]

    def test_the_result_is_a_dataset_like_any_other(self, app: InProcess) -> None:
        name = filled(app, contract(), vectors((1, 1), (1, 1)))
        job, rows = found(app, find(app, name))
        answer = app.http.post(f"{URL}/{job['dataset']}/records", json=[{**rows[0], "distance": 0.5}])
        assert answer.status_code == 202, answer.text
        work(app)
        assert app.rows(job["dataset"])[0]["distance"] == 0.5


class TestRefusals:
    CASES: ClassVar[list[tuple[Json, str, str]]] = [
        ({"threshold": -1}, "/threshold", "out_of_range"),
        ({"threshold": 1e30}, "/threshold", "out_of_range"),
        ({"threshold": "6"}, "/threshold", "wrong_type"),
        ({"threshold": None}, "/threshold", "wrong_type"),
        ({"threshold": True}, "/threshold", "wrong_type"),
        ({"into": "No Name"}, "/into", "bad_name"),
        ({"into": 7}, "/into", "wrong_type"),
        ({"where": {"nothing": 1}}, "/where/nothing", "unknown_field"),
        ({"where": []}, "/where", "wrong_type"),
        ({"more": 1}, "/more", "unknown_member"),
    ]

    @pytest.mark.promise(4)
    @pytest.mark.parametrize(("body", "pointer", "code"), CASES)
    def test_what_cannot_be_is_refused_at_once(self, app: InProcess, body: Json, pointer: str, code: str) -> None:
        name = filled(app, contract(), vectors((1, 1)))
        answer = find(app, name, **body)
        assert answer.status_code == 422, answer.text
        errors = answer.json()["errors"]
        assert [(error["pointer"], error["code"]) for error in errors] == [(pointer, code)]

    def test_no_number_at_all(self, app: InProcess) -> None:
        name = filled(app, contract(), vectors((1, 1)))
        for text, status in (('{"threshold":NaN,"into":"x"}', 400), ("[]", 422), ("{}", 422), ("{", 400)):
            headers = {"content-type": "application/json"}
            answer = app.http.post(f"{URL}/{name}/images/duplicates", content=text, headers=headers)
            assert answer.status_code == status, answer.text

    def test_a_dataset_that_has_no_vectors_or_no_key_or_is_none(self, app: InProcess) -> None:
        plain = contract()
        del plain["embedding"]
        assert find(app, app.dataset(plain)).json()["code"] == "not_searchable"
        keyless = contract()
        del keyless["key"]
        assert find(app, app.dataset(keyless)).json()["code"] == "no_key"
        assert find(app, "nothing_here").status_code == 404

    def test_a_name_that_is_taken(self, app: InProcess) -> None:
        name = filled(app, contract(), vectors((1, 1)))
        answer = find(app, name, into=name)
        assert (answer.status_code, answer.json()["code"]) == (409, "dataset_exists")

    def test_a_key_whose_fields_are_called_as_those_of_the_result(self, app: InProcess) -> None:
        body = contract()
        body["fields"][0]["name"], body["key"] = "group", ["group"]
        answer = find(app, app.dataset(body))
        assert answer.status_code == 422
        assert "group" in answer.json()["detail"]


class TestJob:
    def test_more_records_than_may_be_compared_fail_the_job_with_the_limit(
        self, app: InProcess, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = filled(app, contract(), vectors((1, 1), (1, 1), (1, 1)))
        handler: Any = app.executor._registry.get("images.duplicates")
        monkeypatch.setattr(handler, "_most", 2)
        answer = find(app, name)
        work(app)
        monkeypatch.undo()
        job = app.http.get(answer.json()["links"]["self"]).json()
        assert (job["state"], job["error"]["code"]) == ("failed", "too_many_compared")
        assert "images_max_compared" in job["error"]["detail"]
        retried = app.http.post(job["links"]["retry"])
        assert retried.status_code in (200, 202), retried.text
        assert [row["id"] for row in found(app, answer)[1]] == [0, 1, 2]

    def test_a_cancelled_job_leaves_no_dataset(self, app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("gristmill.images.duplicates.tasks._LOOK_EVERY", 0)
        name, into = filled(app, contract(), vectors((1, 1), (1, 1))), new_name()
        linked = comparing.link_vectors

        def cancel(*args: Any) -> None:
            assert app.http.post(f"/api/v1/jobs/{answer.json()['id']}/cancel").status_code == 202
            linked(*args)

        monkeypatch.setattr(comparing, "link_vectors", cancel)
        answer = find(app, name, into=into)
        work(app)
        job = app.http.get(answer.json()["links"]["self"]).json()
        assert job["state"] == "cancelled", json.dumps(job)
        assert app.http.get(f"{URL}/{into}").json().get("state") != "ready"
        monkeypatch.setattr(comparing, "link_vectors", linked)
        # The name is free again.
        assert len(found(app, find(app, name, into=into))[1]) == 2

    def test_a_result_that_is_dropped_meanwhile_ends_the_job(self, app: InProcess) -> None:
        name = filled(app, contract(), vectors((1, 1), (1, 1)))
        work(app)
        answer = find(app, name)
        into = answer.json()["dataset"]
        assert app.http.delete(f"{URL}/{into}", params={"confirm": into}).status_code == 202
        work(app)
        job = app.http.get(answer.json()["links"]["self"]).json()
        assert job["state"] == "cancelled", json.dumps(job)

    def test_its_progress_is_reported(self, app: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
        shares: list[float] = []
        told = "gristmill.jobs.heartbeat.Heartbeat.report"
        monkeypatch.setattr(told, lambda _, chunk, share: shares.append(share))
        monkeypatch.setattr("gristmill.images.duplicates.vectors.BLOCK_ROWS", 2)
        name = filled(app, contract(), vectors(*((n, 1) for n in range(1, 9))))
        found(app, find(app, name))
        assert shares == sorted(shares)
        assert shares[-1] == 1.0
        assert len(set(shares)) > 5
