"""Text fields with a normal form: one value, however it is written, in records, keys and filters."""

import urllib.parse

import pytest
from tests.support.in_process import CSV, NDJSON, InProcess

COMPOSED, APART = "caf\u00e9", "cafe\u0301"
BODY = {
    "name": "places",
    "fields": [
        {"name": "name", "type": "text", "required": True, "normalize": "NFC", "max_length": 4},
        {"name": "kind", "type": "text", "normalize": "NFKC", "enum": ["fine", "plain"]},
        {"name": "raw", "type": "text"},
    ],
    "key": ["name"],
}


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ([{"name": APART, "raw": APART, "kind": "\ufb01ne"}], {}),
        (f'{{"name":"{APART}","raw":"{APART}","kind":"\ufb01ne"}}\n'.encode(), NDJSON),
        (f"name,raw,kind\n{APART},{APART},\ufb01ne\n".encode(), CSV),
    ],
)
def test_records_keys_and_filters_see_one_value(app: InProcess, body: object, headers: dict[str, str]) -> None:
    name = app.dataset(BODY)
    job = app.job(app.post(name, body, headers=headers))
    assert job["state"] == "succeeded", job["error"]
    stored = [{"name": COMPOSED, "kind": "fine", "raw": APART}]
    assert app.rows(name) == stored
    for key in (APART, COMPOSED):
        url = f"/api/v1/datasets/{name}/records/{urllib.parse.quote(key)}"
        assert app.http.get(url).json()["raw"] == APART
    for where in ({"name": APART}, {"name": {"in": [APART]}}, {"name": {"starts_with": APART}}, {"raw": APART}):
        found = app.http.post(f"/api/v1/datasets/{name}/records/query", json={"where": where}).json()["records"]
        assert found == stored, where
    assert (
        app.http.post(f"/api/v1/datasets/{name}/records/query", json={"where": {"raw": COMPOSED}}).json()["records"]
        == []
    )
    app.job(app.post(name, [{"name": COMPOSED, "raw": "second"}]))
    assert [row["raw"] for row in app.rows(name)] == ["second"]
    app.job(app.http.patch(f"/api/v1/datasets/{name}/records/{urllib.parse.quote(APART)}", json={"kind": "\ufb01ne"}))
    assert [row["kind"] for row in app.rows(name)] == ["fine"]


def test_what_it_becomes_has_to_fit(app: InProcess) -> None:
    name = app.dataset(BODY)
    marks = "a" + "\u0301" * 1001
    refused = app.post(name, [{"name": "e\u0301" * 5}, {"name": "e\u0301" * 4}, {"name": marks}])
    errors = [(one["pointer"], one["code"]) for one in refused.json()["errors"]]
    assert errors == [("/0/name", "too_long"), ("/2/name", "too_many_marks")]
    assert app.post(name, [{"name": "e\u0301" * 4, "kind": "\ufb01n"}]).status_code == 422


def test_it_is_for_texts_and_stays(app: InProcess) -> None:
    for field in (
        {"name": "n", "type": "integer", "normalize": "NFC"},
        {"name": "n", "type": "text", "normalize": "nfc"},
    ):
        answer = app.http.post("/api/v1/datasets", json={"name": "x", "fields": [field]})
        assert [one["pointer"] for one in answer.json()["errors"]] == ["/fields/0/normalize"]
    name = app.dataset(BODY)
    answer = app.http.patch(f"/api/v1/datasets/{name}", json={"alter_fields": [{"name": "raw", "normalize": "NFC"}]})
    assert answer.json()["errors"][0]["code"] == "fixed"


@pytest.mark.parametrize("mark", ["\u0301", "\u0f73", "\u0f75", "\u0f81", "\u0344"])
def test_marks_that_are_made_of_marks_count_as_marks(app: InProcess, mark: str) -> None:
    name = app.dataset(BODY)
    refused = app.post(name, [{"name": "a" + mark * 20_000}])
    assert [one["code"] for one in refused.json()["errors"]] == ["too_many_marks"]
