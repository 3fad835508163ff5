"""Collected members beside vectors: what clients send of both, searches that filter by them, copies of the dataset."""

import pyarrow as pa
import pytest
from tests.support.columnar import as_stream
from tests.support.in_process import InProcess, Job

ARROW = {"content-type": "application/vnd.apache.arrow.stream"}
FIELDS = [{"name": "n", "type": "integer", "required": True}, {"name": "note", "type": "text"}]
BODY: Job = {"name": "x", "fields": FIELDS, "key": ["n"], "unknown_fields": "collect"}


@pytest.mark.parametrize("pipeline", [[], [{"op": "filter", "where": {"n": {"ne": 2}}}]], ids=["plain", "pipeline"])
@pytest.mark.parametrize("columns", [False, True], ids=["json", "arrow"])
def test_vectors_and_members_that_clients_send_follow_their_records(
    app: InProcess, pipeline: list[Job], columns: bool
) -> None:
    name = app.dataset({**BODY, "embedding": {"dimensions": 2}, "pipeline": pipeline})
    sent = [{"n": n, "_embedding": [float(n), 1.0], "colour": "red" if n % 2 else "blue"} for n in range(5)]
    body = as_stream(pa.Table.from_pylist(sent)) if columns else sent
    assert app.job(app.post(name, body, headers=ARROW if columns else {}))["state"] == "succeeded"
    query = {"vector": [4, 1], "k": 2, "where": {"_extra.colour": "red"}}
    hits = app.post(name, query, path="search").json()["hits"]
    assert [(hit["record"]["n"], hit["record"]["_extra"]) for hit in hits] == [
        (3, {"colour": "red"}),
        (1, {"colour": "red"}),
    ]


def test_a_member_with_an_index_is_searched_with_the_words(app: InProcess) -> None:
    extra = {"name": "_extra", "type": "json", "members": [{"path": "colour", "type": "text"}]}
    embedding = {"from": ["note"], "embedder": "hashing"}
    name = app.dataset({**BODY, "fields": [*FIELDS, extra], "embedding": embedding})
    app.job(app.post(name, [{"n": n, "note": "rain", "colour": colour} for n, colour in enumerate("abca")]))
    found = app.post(name, {"text": "rain", "k": 9, "where": {"_extra.colour": "a"}}, path="search").json()
    assert sorted(hit["record"]["n"] for hit in found["hits"]) == [0, 3]
    # A vector is made of the fields that the contract names alone.
    app.job(app.post(name, [{"n": 0, "size": 1}], path="records?mode=merge"))
    assert app.rows(name)[0] == {"n": 0, "note": "rain", "_extra": {"size": 1}}


def test_a_copy_of_the_dataset_collects_too(app: InProcess) -> None:
    name = app.dataset(BODY)
    app.job(app.post(name, [{"n": 1, "x": [1]}, {"n": 2}]))
    copy = f"{name}_copy"
    body = {"name": copy, "where": {"_extra.x": {"null": False}}}
    answer = app.http.post(f"/api/v1/datasets/{name}/copy", json=body)
    app.work(queue="long")
    assert app.job(answer)["state"] == "succeeded"
    app.job(app.post(copy, [{"n": 3, "y": None}]))
    assert [row["_extra"] for row in app.rows(copy)] == [{"x": [1]}, {"y": None}]


def test_many_records_change_their_members_at_once(app: InProcess) -> None:
    name = app.dataset(BODY)
    app.job(app.post(name, [{"n": 1, "x": 1}, {"n": 2, "x": 2}]))
    body = {"where": {"_extra.x": 2}, "changes": {"_extra": {"y": 1}}}
    app.job(app.http.patch(f"/api/v1/datasets/{name}/records", json=body))
    assert [row["_extra"] for row in app.rows(name)] == [{"x": 1}, {"y": 1}]
    body["changes"] = {"colour": "red"}  # type: ignore[dict-item]
    answer = app.http.patch(f"/api/v1/datasets/{name}/records", json=body)
    assert [error["pointer"] for error in answer.json()["errors"]] == ["/changes/colour"]
