"""The OpenAPI document of a running API, read by programs of other people: validator, generator of clients, fuzzer."""

import io
import json
import os
import subprocess
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support.servers import add_database
from tests.support.system import ROOT, System

from gristmill.client import Client, InvalidRequest, NotFound
from gristmill.datasets.schemas import EXAMPLE
from gristmill.records.infer.endpoints import SAMPLE_TYPES
from gristmill.records.readers import MEDIA_TYPES

TOOLS = ROOT / ".venv-openapi" / "bin"
FOLDER = ROOT / "tests" / "openapi"
KEY = ["a-1", "2026-01-01T11:00:00Z"]
TOUR: dict[str, Any] = {
    "contract": EXAMPLE,
    "records": [
        {"sensor": "a-1", "at": "2026-01-01T10:00:00Z", "value": 21.5, "note": "window opened to let fresh air in"},
        {"sensor": "a-1", "at": "2026-01-01T11:00:00Z", "value": 22, "note": "bearing noise in the motor"},
        {"sensor": "b-7", "at": "2026-01-01T10:00:00+02:00", "value": -3.25, "note": "ice on the housing"},
    ],
    "wrong": [
        {"sensor": "a-1", "at": "2026-01-01T12:00:00", "value": 22.5},
        {"sensor": "a-1", "at": "2026-01-01T13:00:00Z", "value": 451, "nots": "hot"},
    ],
    "search": {"text": "strange sounds from the engine", "k": 2, "where": {"at": {"ge": "2026-01-01T00:00:00Z"}}},
    "list": {"start": "2026-01-01T00:00:00Z", "where": '{"value": {"gt": 0}}', "order": "-value", "page_size": 1},
    "where": {"or": [{"sensor": "b-7"}, {"value": {"between": [0, 21.7]}}]},
    "key": KEY,
}
# What no two runs have in common.
CHANGING = {"id", "request_id", "created_at", "run_at", "started_at", "finished_at", "took_ms", "submitted_by", "sizes"}


@pytest.fixture(scope="module")
def own(worker_number: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A system of its own: the fuzzer changes whatever it finds."""
    found = System(
        add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"]),
        os.environ[f"GRISTMILL_TEST_BROKER_URL_{worker_number}_OWN"],
        tmp_path_factory.mktemp("openapi"),
        jobs_plugins="",
        storage_url=tmp_path_factory.mktemp("files"),
    )
    found.start()
    yield found
    found.stop()


def run(*command: str | Path, **options: Any) -> str:
    """Run a tool and return what it said. Fails with that unless it ends well."""
    assert TOOLS.is_dir(), "the tools are not installed: make setup"
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    done = subprocess.run([str(part) for part in command], text=True, check=False, **pipes, **options)
    assert done.returncode == 0, done.stdout[-8000:]
    return str(done.stdout)


@pytest.fixture(scope="module")
def document(own: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("document") / "openapi.json"
    path.write_bytes(httpx.get(f"{own.url}/openapi.json").raise_for_status().content)
    return path


class TestDocument:
    def test_it_is_valid(self, document: Path) -> None:
        run(TOOLS / "openapi-spec-validator", document)

    def test_every_call_says_what_it_takes_gives_and_refuses(self, document: Path) -> None:
        found = json.loads(document.read_text())
        problem = {"application/problem+json"}
        for path, methods in found["paths"].items():
            for method, call in methods.items():
                where = f"{method} {path}"
                assert call["operationId"].isidentifier(), where
                assert call["tags"], where
                for status, answer in call["responses"].items():
                    if "$ref" in answer:
                        answer = found["components"]["responses"][answer["$ref"].rpartition("/")[2]]
                    contents = answer.get("content", {})
                    assert contents or status in ("204", "304"), f"{where} {status} says nothing of its body"
                    assert int(status) < 400 or contents.keys() == problem, f"{where} {status}"
                    assert all(one["schema"] != {"type": "object"} for one in contents.values()), where
                for content in call.get("requestBody", {}).get("content", {}).values():
                    assert content["schema"] not in ({}, {"type": "object"}), where

    def test_the_page_has_boxes_for_bodies_and_for_a_key(self, own: System, document: Path) -> None:
        found = json.loads(document.read_text())
        assert found["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
        assert "swagger-ui" in httpx.get(f"{own.url}/docs").raise_for_status().text
        bodies = {
            call["operationId"] for path in found["paths"].values() for call in path.values() if "requestBody" in call
        }
        assert bodies == {
            "create_dataset", "alter_dataset", "submit_records", "validate_records", "change_record", "delete_records",
            "search", "change_index", "submit_job", "rename_dataset", "copy_dataset",
            "recompute_dataset", "fit_dataset", "preview_pipeline", "infer_contract",
            "query_records", "aggregate_records", "get_records", "count_records", "distinct_values", "change_records",
            "create_export", "link_export", "create_source", "change_source", "create_schedule", "change_schedule",
            "find_duplicates", "export_images",
        }  # fmt: skip


class TestClients:
    def test_a_generated_client_our_own_and_plain_http_get_the_same_answers(
        self, own: System, document: Path, tmp_path: Path
    ) -> None:
        package = tmp_path / "gristmill_client"
        made = run(
            TOOLS / "openapi-python-client", "generate", "--path", document, "--output-path", package,
            "--config", FOLDER / "generator.yaml", "--meta", "none", "--overwrite",
        )  # fmt: skip
        known = made.count("Unsupported content type")
        assert made.count("WARNING") == known == 2 * (len(MEDIA_TYPES) - 1) + len(SAMPLE_TYPES) - 1, made[-4000:]
        said = run(
            TOOLS / "python", FOLDER / "tour.py", own.url, "tour_generated",
            input=json.dumps(TOUR), cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )  # fmt: skip
        generated = [json.loads(line) for line in said.splitlines()]
        with Client(own.url) as client:
            ours = list(tour_of_client(client, "tour_ours"))
        with httpx.Client(base_url=f"{own.url}/api/v1", timeout=60) as http:
            plain = list(tour_of_http(http, "tour_plain"))
        for step, one, other in zip(generated, ours, plain, strict=True):
            assert step["step"] == one[0] == other[0]
            expected = same(other[1], "tour_plain")
            assert same(step["answer"], "tour_generated") == expected, step["step"]
            assert same(one[1], "tour_ours") == expected, step["step"]


class TestFuzz:
    def test_no_answer_is_a_defect_or_one_that_the_document_does_not_know(
        self, own: System, document: Path, tmp_path: Path
    ) -> None:
        """Two checks are left out: what is valid by the document may not fit a contract, and a record may have the key
        ``delete``, so that its path has more methods than the call of that name."""
        said = run(
            TOOLS / "st", "--config-file", FOLDER / "schemathesis.toml", "run", document,
            "--url", own.url, "--max-examples", "10", "--no-color", "--warnings", "off",
            # Parameters of a write exclude each other, so much of what is drawn is thrown away; on a busy machine
            # drawing takes longer than is thought healthy.
            "--suppress-health-check", "filter_too_much,too_slow",
            "--exclude-checks", "positive_data_acceptance,allow_header_conformance",
            "--generation-database", "none", "--request-timeout", "60", cwd=tmp_path,
        )  # fmt: skip
        assert "Stateful" in said
        log = own.log("api")
        assert "request.defect" not in log
        assert own.query("SELECT count(*) AS n FROM gristmill.jobs")[0]["n"] > 20


def same(value: Any, name: str) -> Any:
    """Return an answer without what differs from run to run, and with one name for the dataset."""
    if isinstance(value, dict):
        return {key: same(item, name) for key, item in value.items() if key not in CHANGING and item is not None}
    if isinstance(value, list):
        return [same(item, name) for item in value]
    if isinstance(value, str):
        return "a path with an id" if "/jobs/" in value else value.replace(name, "DATASET")
    return value


def caught(call: Callable[[], Any], kind: type[InvalidRequest | NotFound]) -> Any:
    with pytest.raises(kind) as error:
        call()
    return error.value.problem


def tour_of_client(client: Client, name: str) -> Iterator[tuple[str, Any]]:
    yield "create", client.create_dataset({**TOUR["contract"], "name": name}, wait=True)
    for step in ("submit", "again"):
        job = client.submit(name, TOUR["records"], wait=True, idempotency_key=f"tour-{name}")
        yield step, job
    yield "job", client.job(job["id"])
    yield "dataset", client.dataset(name)
    yield "search", client.search(name, **TOUR["search"])
    yield "record", client.record(name, KEY)
    listed = TOUR["list"]
    pages = list(client.records(name, **{**listed, "where": json.loads(listed["where"])}))
    yield "page", {"records": pages[:1]}
    yield "next page", {"records": pages[1:]}
    exported = io.BytesIO()
    client.export(name, exported, format="ndjson")
    yield "export", exported.getvalue().decode()
    # As JSON, like the others: in NDJSON the errors would have lines.
    wrong = io.BytesIO(json.dumps(TOUR["wrong"]).encode())
    yield "refused", caught(lambda: client.submit(name, wrong, format="json"), InvalidRequest)
    yield "validate", client.validate(name, TOUR["records"])
    yield "delete", client.delete(name, KEY, wait=True)
    yield "delete by filter", client.delete_where(name, TOUR["where"], wait=True)
    yield "missing", caught(lambda: client.record(name, KEY), NotFound)
    yield "drop", client.drop_dataset(name, wait=True)


def tour_of_http(http: httpx.Client, name: str) -> Iterator[tuple[str, Any]]:
    path, wait = f"/datasets/{name}", {"wait": 30}
    record = f"{path}/records/{urllib.parse.quote(json.dumps(KEY, separators=(',', ':')), safe='')}"
    yield "create", http.post("/datasets", json={**TOUR["contract"], "name": name}, params=wait).json()
    for step in ("submit", "again"):
        headers = {"idempotency-key": f"tour-{name}"}
        job = http.post(f"{path}/records", json=TOUR["records"], params=wait, headers=headers).json()
        yield step, job
    yield "job", http.get(f"/jobs/{job['id']}").json()
    yield "dataset", http.get(path).json()
    yield "search", http.post(f"{path}/search", json=TOUR["search"]).json()
    yield "record", http.get(record).json()
    page = http.get(f"{path}/records", params=TOUR["list"]).json()
    yield "page", {"records": page["records"]}
    following = {**TOUR["list"], "page_token": page["next_page_token"]}
    yield "next page", {"records": http.get(f"{path}/records", params=following).json()["records"]}
    yield "export", http.get(f"{path}/export").text
    yield "refused", http.post(f"{path}/records", json=TOUR["wrong"]).json()
    yield "validate", http.post(f"{path}/validate", json=TOUR["records"]).json()
    yield "delete", http.delete(record, params=wait).json()
    yield "delete by filter", http.post(f"{path}/records/delete", json={"where": TOUR["where"]}, params=wait).json()
    yield "missing", http.get(record).json()
    yield "drop", http.delete(path, params={**wait, "confirm": name}).json()
