"""HEAD on every GET: the same status and headers, no body, no waiting; streams are not begun."""

import base64
import time
from typing import Any

import pytest
from tests.integration.test_write_rest import ONE
from tests.support.images import encoded, photograph
from tests.support.in_process import InProcess

# Transactions of other tests move the horizon.
OWN = {"x-request-id", "date", "gristmill-horizon"}
# Measured anew at each call.
MEASURED = ("/metrics",)


@pytest.fixture
def places(app: InProcess) -> dict[str, str]:
    """What stands in the places of every path: a dataset with an embedding, its export, and a job with a reject."""
    views = {"sorted": [{"op": "sort", "by": ["k"]}]}
    fields = [*ONE["fields"], {"name": "photo", "type": "image"}]
    name = app.dataset({**ONE, "fields": fields, "embedding": {"dimensions": 2}, "views": views})
    photo = base64.b64encode(encoded(photograph("rocket.jpg", (64, 48)))).decode()
    body = [{"k": "a", "v": 1, "photo": photo, "_embedding": [1, 0]}, {"k": "b", "v": "x"}]
    job = app.job(app.post(name, body, "records?on_error=quarantine"))
    assert job["record_counts"]["rejected"] == 1
    export = app.http.post(f"/api/v1/datasets/{name}/exports", json={}).json()["id"]
    images = app.http.post(f"/api/v1/datasets/{name}/images/export", json={}).json()["id"]
    app.work(queue="long")
    emitted = [{"name": n, "type": t} for n, t in (("timestamp", "timestamp"), ("id", "uuid"), ("value", "float"))]
    body = {"name": f"source_{name}", "kind": "simulator", "dataset": app.dataset({"fields": emitted})}
    source = app.http.post("/api/v1/sources", json={**body, "state": "paused"})
    assert source.status_code == 201, source.text
    with app.gristmill.database.transaction() as connection:
        # No plugin is loaded here that would have a job type.
        connection.exec_driver_sql(
            "INSERT INTO gristmill.schedules (id, name, type, args, every, zone, start, overlap, state, created_by,"
            " owned_since) VALUES (gen_random_uuid(), %(name)s, 'own.plain', '{}', '1d', 'UTC', now(), 'allow',"
            " 'paused', 'local', now())",
            {"name": f"schedule_{name}"},
        )
    return {
        "schedule": f"schedule_{name}",
        "source": source.json()["name"],
        "dataset": name,
        "key": "a",
        "view": "sorted",
        "job_id": job["id"],
        "export_id": export,
        "file_name": f"{name}.parquet",
        "image_export": images,
        "path": "images/a.jpg",
    }


def gets(app: InProcess) -> list[str]:
    paths = app.http.get("/openapi.json").json()["paths"]
    return sorted(path for path, calls in paths.items() if "get" in calls)


def plain(answer: Any) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name not in OWN}


def test_every_get_answers_it_with_the_same_headers(app: InProcess, places: dict[str, str]) -> None:
    found = gets(app)
    assert len(found) > 10
    found = [one.replace("{export_id}", "{image_export}") if "{path}" in one else one for one in found]
    for path in [*(one.format(**places) for one in found), "/docs", "/openapi.json"]:
        get, head = app.http.get(path), app.http.head(path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        assert get.status_code == 200, (path, get.text)
        names = plain(get).keys() - {"content-length"} if path in MEASURED else plain(get).keys()
        assert {name: head.headers.get(name) for name in names} == {name: get.headers[name] for name in names}, path


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/jobs/0",
        "/api/v1/jobs/01a2007d-c15e-7000-8000-000000000000",
        "/api/v1/datasets/none",
        "/api/v1/datasets/none/export",
        "/api/v1/datasets/none/records?page_size=0",
        "/api/v1/datasets?zz=1",
        "/nothing",
    ],
)
def test_it_is_refused_as_the_get_is(app: InProcess, path: str) -> None:
    get, head = app.http.get(path), app.http.head(path)
    assert get.status_code in (404, 422)
    assert (head.status_code, head.content) == (get.status_code, b"")
    assert head.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "path",
    ["/api/v1/datasets/d/search", "/api/v1/datasets/d/validate", "/api/v1/jobs/0/cancel", "/api/v1/jobs/0/retry"],
)
def test_what_has_no_get_refuses_it_and_allow_names_it_beside_every_get(app: InProcess, path: str) -> None:
    head = app.http.head(path)
    assert (head.status_code, head.headers["allow"]) == (405, "POST")
    assert app.http.put("/api/v1/jobs").headers["allow"] == "GET, HEAD, POST"
    assert app.http.put("/api/v1/job-types").headers["allow"] == "GET, HEAD"
    assert app.http.put("/api/v1/datasets").headers["allow"] == "GET, HEAD, POST"
    assert app.http.put("/api/v1/datasets/d/records/a").headers["allow"] == "DELETE, GET, HEAD, PATCH"


def test_it_waits_for_no_job(app: InProcess, places: dict[str, str]) -> None:
    job = app.post(places["dataset"], [{"k": "c", "_embedding": [0, 1]}]).json()
    begun = time.monotonic()
    answer = app.http.head(job["links"]["self"], params={"wait": 25}, headers={"prefer": "wait=25"})
    assert (answer.status_code, time.monotonic() - begun < 20) == (200, True)
    assert "preference-applied" not in answer.headers
    assert app.http.head(job["links"]["self"], params={"wait": -1}).status_code == 422


def test_an_export_is_not_begun_and_takes_nobodys_turn(app: InProcess, places: dict[str, str]) -> None:
    """Its length is not known, and the limit of exports that run at once does not count it."""
    for _ in range(app.gristmill.settings.export_concurrent + 1):
        answer = app.http.head(f"/api/v1/datasets/{places['dataset']}/export?format=csv")
        assert answer.status_code == 200
    assert "content-length" not in answer.headers
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"].endswith('.csv"')
    with app.http.stream("HEAD", f"/api/v1/jobs/{places['job_id']}/rejects?format=csv") as rejects:
        assert "content-length" not in rejects.headers


def test_a_body_that_comes_with_it_is_refused_as_that_of_a_get_is(app: InProcess, places: dict[str, str]) -> None:
    for path in ("", f"/{places['job_id']}"):
        answer = app.http.request("HEAD", f"/api/v1/jobs{path}", content=b"{" * 1000)
        assert (answer.status_code, answer.content) == (422, b"")


def test_metrics_count_it_as_what_it_is(app: InProcess, places: dict[str, str]) -> None:
    wanted = 'request_seconds_count{method="HEAD",route="/api/v1/jobs/{job_id}",status="200"}'

    def counted() -> float:
        found = [line for line in app.http.get("/metrics").text.splitlines() if wanted in line]
        return float(found[0].rsplit(" ", 1)[1]) if found else 0.0

    before = counted()
    app.http.head(f"/api/v1/jobs/{places['job_id']}")
    assert counted() == before + 1
