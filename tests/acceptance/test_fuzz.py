"""Anything may be sent to any route of the OpenAPI document: the answer is never a 500, and every refusal a problem."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.rest import Json, Rest

pytestmark = pytest.mark.promise(4)

CONTRACT: Json = {
    "fields": [
        {"name": "k", "type": "text", "required": True},
        {"name": "n", "type": "integer"},
        {"name": "f", "type": "float", "filterable": True},
        {"name": "d", "type": "decimal"},
        {"name": "t", "type": "timestamp", "zone": "Europe/Berlin"},
        {"name": "day", "type": "date"},
        {"name": "u", "type": "uuid"},
        {"name": "j", "type": "json"},
        {"name": "v", "type": "vector", "dimensions": 2},
        {"name": "note", "type": "text"},
    ],
    "key": ["k", "n"],
    "time_field": "t",
    "embedding": {"from": ["note"], "embedder": "hashing"},
    "text_search": {"from": ["note", "k"], "language": "german"},
}
CONTRACT["fields"][1]["required"] = True

# Words that mean something somewhere, so that the fuzz gets past the first check.
WORDS = st.sampled_from(
    [
        "k", "n", "f", "d", "t", "day", "u", "j", "v", "note", "name", "fields", "key", "type", "text", "integer",
        "required", "records", "where", "and", "or", "not", "eq", "in", "between", "prefix", "null", "like",
        "vector", "include", "embedding", "mode", "ef", "from", "dimensions", "metric", "cosine", "l2",
        "add_fields", "alter_fields", "maximum", "minimum", "max_length", "precision", "scale", "zone",
        "time_field", "filterable", "decimal", "timestamp", "_embedding", "_id", "2026-01-31T12:00:00Z",
        "2026-01-31", "0192f0c2-7d3a-7000-8000-0123456789ab",
    ]
)  # fmt: skip
TEXTS = st.one_of(WORDS, st.text(max_size=6))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, 10, -1]),
    st.floats(),
    TEXTS,
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)
RECORD = st.fixed_dictionaries(
    {"k": st.one_of(st.just("a"), SCALARS), "n": st.one_of(st.integers(0, 3), SCALARS)},
    optional=dict.fromkeys(("f", "d", "t", "day", "u", "j", "v", "note", "zz"), TREES),
)
BODIES = st.one_of(
    TREES.map(lambda tree: json.dumps(tree).encode()),
    st.lists(RECORD, max_size=4).map(lambda rows: json.dumps(rows).encode()),
    st.lists(RECORD, max_size=4).map(lambda rows: "\n".join(map(json.dumps, rows)).encode()),
    st.fixed_dictionaries(
        {},
        optional={
            "text": TEXTS,
            "vector": TREES,
            "like": TREES,
            "where": TREES,
            "k": SCALARS,
            "include": TREES,
            "mode": st.one_of(st.sampled_from(["text", "hybrid"]), SCALARS),
            "queries": st.one_of(TREES, st.lists(st.fixed_dictionaries({"text": TEXTS}), max_size=3)),
            "max_distance": SCALARS,
            "min_score": SCALARS,
            "page_size": SCALARS,
            "page_token": TEXTS,
            "weights": TREES,
            "exact": SCALARS,
            "add_fields": TREES,
            "alter_fields": TREES,
            "name": TEXTS,
            "fields": TREES,
            "key": TREES,
        },
    ).map(lambda body: json.dumps(body).encode()),
    st.builds(
        lambda rows: "\n".join(",".join(row) for row in rows).encode("utf-8", "surrogatepass"),
        st.lists(st.lists(st.one_of(WORDS, st.text(max_size=4)), max_size=4), max_size=4),
    ),
    st.binary(max_size=40),
)
KINDS = st.sampled_from(
    ["application/json", "application/json", "application/x-ndjson", "text/csv", "application/octet-stream", ""]
)
UNICODE = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.one_of(TREES.map(json.dumps), TEXTS, st.integers(-5, 5).map(str))


@pytest.fixture(scope="module")
def name(rest: Rest) -> str:
    found = rest.create(CONTRACT)
    rest.store(found, [{"k": "a", "n": number, "note": f"note {number}", "f": number / 3} for number in range(4)])
    return found


def _query_names(call: dict[str, Any]) -> list[str]:
    """The names of a call's parameters in the URL; those of an object are its members."""
    found = [one for one in call.get("parameters", []) if one["in"] == "query"]
    return [name for one in found for name in one["schema"].get("properties", [one["name"]])]


@pytest.fixture(scope="module")
def operations(rest: Rest) -> list[tuple[str, str, list[str]]]:
    """(method, path, query parameters) of every call but those that would take the dataset away."""
    paths = rest.http.get("/openapi.json").json()["paths"]
    found = [
        (method.upper(), path, _query_names(call))
        for path, calls in paths.items()
        for method, call in calls.items()
        if (method, path) != ("delete", "/api/v1/datasets/{dataset}")
    ]
    assert len(found) > 20
    return found


def check(answer: Any, what: object) -> None:
    assert answer.status_code < 500, f"{what}: {answer.status_code} {answer.text[:500]}"
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json", what
        problem = answer.json()
        assert problem["status"] == answer.status_code
        assert problem["detail"], what
        assert len(problem.get("errors", [])) <= 100
    elif answer.headers["content-type"] == "application/json":
        # JSON as the standard has it: no NaN, no Infinity.
        json.loads(answer.content, parse_constant=lambda constant: pytest.fail(f"{what}: {constant}"))


class TestFuzz:
    @settings(max_examples=300)
    @given(data=st.data())
    def test_no_request_is_a_500(
        self, rest: Rest, name: str, operations: list[tuple[str, str, list[str]]], data: st.DataObject
    ) -> None:
        method, path, parameters = data.draw(st.sampled_from(operations))
        # Never long waits; and a job that were put off could not be told from one that is stuck.
        known = [parameter for parameter in parameters if parameter not in ("wait", "run_at")]
        query = data.draw(st.dictionaries(st.sampled_from([*known, "priority", "label", "zz"]), VALUES, max_size=3))
        target = path.replace("{dataset}", data.draw(st.one_of(st.just(name), st.just(name), TEXTS.map(escape))))
        target = target.replace("{key}", data.draw(st.one_of(st.just('["a",1]'), VALUES).map(escape)))
        target = target.replace("{job_id}", data.draw(TEXTS.map(escape)))
        headers = {"content-type": data.draw(KINDS)}
        body = b"" if method == "GET" else data.draw(BODIES)
        answer = rest.http.request(method, target, params=query, content=body, headers=headers)
        check(answer, (method, target, query, headers, body))

    @settings(max_examples=60)
    @given(where=st.dictionaries(WORDS, TREES, max_size=3), search=st.booleans())
    def test_no_filter_is_a_500(self, rest: Rest, name: str, where: Json, search: bool) -> None:
        if search:
            body = json.dumps({"text": "note", "where": where}).encode()
            answer = rest.http.post(
                f"/api/v1/datasets/{name}/search", content=body, headers={"content-type": "application/json"}
            )
        else:
            answer = rest.http.get(f"/api/v1/datasets/{name}/records", params={"where": json.dumps(where)})
        check(answer, where)

    @settings(max_examples=150)
    @given(
        body=st.fixed_dictionaries(
            {"text": st.one_of(TEXTS, st.sampled_from(["note", "note 1", '"a', "- or", "a:*&!"]))},
            optional={
                "mode": st.sampled_from(["vector", "text", "hybrid"]),
                "k": st.integers(1, 5),
                "where": st.sampled_from([{"n": {"lt": 3}}, {"f": 0.5}, {"u": {"null": True}}, {}]),
                "max_distance": st.floats(),
                "min_score": st.floats(),
                "page_size": st.integers(1, 3),
                "weights": st.dictionaries(st.sampled_from(["vector", "text"]), SCALARS),
                "exact": st.booleans(),
                "explain": st.booleans(),
                "vector": TREES,
                "like": TREES,
            },
        ),
        token=st.one_of(st.none(), TEXTS),
    )
    def test_no_search_is_a_500(self, rest: Rest, name: str, body: Json, token: str | None) -> None:
        path = f"/api/v1/datasets/{name}/search"
        answer = rest.http.post(path, content=json.dumps(body).encode(), headers={"content-type": "application/json"})
        check(answer, body)
        if answer.status_code == 200 and (answer.json().get("next_page_token") or token) and "page_size" in body:
            following = {**body, "page_token": token or answer.json()["next_page_token"]}
            check(
                rest.http.post(
                    path, content=json.dumps(following).encode(), headers={"content-type": "application/json"}
                ),
                following,
            )

    @settings(max_examples=60)
    @given(
        path=st.text(st.characters(codec="utf-8"), max_size=12),
        query=st.text(st.characters(codec="utf-8"), max_size=12),
    )
    def test_no_path_is_a_500(self, rest: Rest, path: str, query: str) -> None:
        for target in (f"/{quote(path)}", f"/api/v1/datasets/{quote(path)}", f"/api/v1/jobs/{quote(path, safe='')}"):
            check(rest.http.get(f"{target}?{quote(query)}"), (target, query))

    def test_afterwards_everything_that_was_accepted_has_ended(self, rest: Rest, name: str) -> None:
        listed = rest.http.get("/api/v1/jobs", params={"dataset": name, "page_size": 1000}).json()["jobs"]
        for job in listed:
            rest.finished(rest.http.get(job["links"]["self"], params={"wait": 30}))
        for job in listed:
            found = rest.http.get(job["links"]["self"]).json()
            assert found["state"] in ("succeeded", "failed")
            assert found["state"] == "succeeded" or found["error"]["code"] != "internal", found


def escape(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"), safe="") or "x"
