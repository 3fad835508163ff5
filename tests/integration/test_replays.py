"""What an Idempotency-Key stands for, for calls that change datasets, records, indexes: all but how long it waits."""

from typing import Any

import pytest
from tests.support.in_process import InProcess

CONTRACT: dict[str, Any] = {
    "fields": [{"name": "id", "type": "text", "required": True}, {"name": "n", "type": "integer"}],
    "key": ["id"],
    "embedding": {"dimensions": 2},
}
D = "/api/v1/datasets/{d}"
WRITES: list[tuple[str, str, Any]] = [
    ("POST", "/api/v1/datasets", {**CONTRACT, "name": "{d}_new"}),
    ("PATCH", D, {"title": "another"}),
    ("DELETE", D + "?confirm={d}", None),
    ("POST", D + "/truncate", None),
    ("POST", D + "/rename", {"name": "{d}_renamed"}),
    ("POST", D + "/copy", {"name": "{d}_copy"}),
    ("POST", D + "/records", [{"id": "b", "_embedding": [0, 1]}]),
    ("PATCH", D + "/records", {"where": {"n": 1}, "changes": {"n": 2}}),
    ("PATCH", D + "/records/a", {"n": 2}),
    ("DELETE", D + "/records/a", None),
    ("POST", D + "/records/delete", {"keys": ["a"]}),
    ("POST", D + "/index/rebuild", None),
]


def fill(part: Any, name: str) -> Any:
    if isinstance(part, dict):
        return {key: fill(item, name) for key, item in part.items()}
    if isinstance(part, list):
        return [fill(item, name) for item in part]
    return part.replace("{d}", name) if isinstance(part, str) else part


@pytest.mark.parametrize(("method", "path", "body"), WRITES, ids=lambda part: part if isinstance(part, str) else "")
def test_another_parameter_is_another_request(app: InProcess, method: str, path: str, body: Any) -> None:
    name = app.dataset(CONTRACT)
    app.job(app.post(name, [{"id": "a", "n": 1, "_embedding": [1, 0]}]))
    url, parts = fill(path, name), fill(body, name)

    def send(**parameters: Any) -> tuple[int, Any]:
        whole = app.http.build_request(method, url, json=parts).url.copy_merge_params(parameters)
        answer = app.http.request(method, whole, json=parts, headers={"idempotency-key": name})
        return answer.status_code, answer.json().get("id", answer.json().get("code"))

    status, first = send(priority=1)
    assert status == 202, first
    assert send(priority=1) == (202, first)
    assert send(priority=2) == (422, "idempotency_key_reused")
    app.work()
    assert send(priority=1, wait=0) in ((200, first), (202, first))
