"""What is refused before a body is read: pages of other sites, media types, datasets that are not there; hang-ups."""

import json
import socket
import uuid
from urllib.parse import urlsplit

import pytest
from tests.support.refusals import refused
from tests.support.rest import Rest, new_name
from tests.support.system import eventually

pytestmark = pytest.mark.promise(4)

CONTRACT = {"fields": [{"name": "k", "type": "text", "required": True}], "key": ["k"]}
FOREIGN = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"origin": "http://127.0.0.1:1"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
]


def half_sent(rest: Rest, path: str, headers: dict[str, str], body: bytes = b"") -> socket.socket:
    """Send the head of a POST, and less of its body than the head says."""
    host = urlsplit(rest.system.url).netloc
    connection = socket.create_connection((host.split(":")[0], int(host.split(":")[1])), timeout=60)
    lines = [f"POST {path} HTTP/1.1", f"host: {host}", *(f"{name}: {value}" for name, value in headers.items())]
    connection.sendall("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    return connection


def whole_answer(connection: socket.socket) -> bytes:
    """Return the answer, whose body may come after its head."""
    answer = b""
    while b"\r\n\r\n" not in answer or not answer.endswith(b"}"):
        block = connection.recv(65536)
        assert block, answer
        answer += block
    return answer


class TestOtherSites:
    @pytest.mark.parametrize("headers", FOREIGN)
    def test_without_a_key_their_pages_cannot_write(self, rest: Rest, headers: dict[str, str]) -> None:
        name = rest.create(CONTRACT)
        job = rest.post(name, [{"k": "a"}]).json()["id"]
        body = json.dumps({**CONTRACT, "name": new_name()})
        for method, path, content in [
            ("POST", "/datasets", body), ("PATCH", f"/datasets/{name}", "{}"),
            ("POST", f"/datasets/{name}/search", "{}"),
            ("POST", f"/datasets/{name}/records", "[]"), ("DELETE", f"/datasets/{name}?confirm={name}", None),
            ("POST", f"/jobs/{job}/cancel", None), ("POST", f"/jobs/{job}/retry", None),
            ("POST", f"/datasets/{name}/index/rebuild", None), ("DELETE", f"/datasets/{name}/records/a", None),
        ]:  # fmt: skip
            answer = rest.http.request(method, f"/api/v1{path}", content=content, headers=headers)
            assert "other sites" in refused(answer, 403, "forbidden")["detail"], path
        assert rest.http.get(f"/api/v1/datasets/{name}", headers=headers).status_code == 200

    def test_pages_of_the_api_itself_can(self, rest: Rest) -> None:
        headers = {"origin": rest.system.url, "sec-fetch-site": "same-origin"}
        name = new_name()
        answer = rest.http.post("/api/v1/datasets?wait=30", json={**CONTRACT, "name": name}, headers=headers)
        assert answer.status_code == 200, answer.text


class TestMediaTypes:
    @pytest.mark.parametrize(
        "kind", ["application/x-www-form-urlencoded", "text/plain", "", None, "application/json; charset=latin-1"]
    )
    def test_json_says_that_it_is_json(self, rest: Rest, kind: str | None) -> None:
        name = rest.create(CONTRACT)
        headers = {} if kind is None else {"content-type": kind}
        for method, path, content in [
            ("POST", "/datasets", {**CONTRACT, "name": new_name()}), ("PATCH", f"/datasets/{name}", {"add_fields": []}),
            ("POST", f"/datasets/{name}/search", {"text": "x"}),
            ("POST", f"/datasets/{name}/records/delete", {"where": {}}),
            ("PATCH", f"/datasets/{name}/records/a", {"k": "a"}), ("PATCH", f"/datasets/{name}/index", {"hold": True}),
            ("POST", f"/datasets/{name}/records", [{"k": "a"}]), ("POST", f"/datasets/{name}/validate", [{"k": "a"}]),
        ]:  # fmt: skip
            answer = rest.http.request(method, f"/api/v1{path}", content=json.dumps(content).encode(), headers=headers)
            assert refused(answer, 415, "unsupported_media_type"), path

    @pytest.mark.parametrize(
        "kind", ["text/csv; header=absent", "text/csv; delimiter=;", "application/json; version=2"]
    )
    def test_a_parameter_that_means_nothing_here_is_refused(self, rest: Rest, kind: str) -> None:
        name = rest.create(CONTRACT)
        answer = rest.post(name, b"k\na\n", headers={"content-type": kind})
        assert kind.split("; ")[1].rstrip(";") in refused(answer, 415, "unsupported_media_type")["detail"]

    def test_those_that_mean_what_is_done_are_taken(self, rest: Rest) -> None:
        name = rest.create(CONTRACT)
        kind = 'text/csv; charset="UTF-8"; header=present;'
        assert rest.post(name, b"k\na\n", headers={"content-type": kind}).status_code == 202


class TestBeforeTheBody:
    @pytest.mark.parametrize("path", ["records", "validate", "records/delete"])
    @pytest.mark.parametrize("expect", [{}, {"expect": "100-continue"}])
    def test_a_dataset_that_there_is_not(self, rest: Rest, path: str, expect: dict[str, str]) -> None:
        headers = {"content-type": "application/json", "content-length": "1000000", **expect}
        with half_sent(rest, f"/api/v1/datasets/{new_name()}/{path}", headers) as connection:
            answer = whole_answer(connection)
        assert answer.startswith(b"HTTP/1.1 404 "), answer
        assert b'"unknown_dataset"' in answer

    def test_a_media_type_that_is_not_taken(self, rest: Rest) -> None:
        headers = {"content-type": "text/plain", "content-length": "1000000", "expect": "100-continue"}
        with half_sent(rest, f"/api/v1/datasets/{rest.create(CONTRACT)}/records", headers) as connection:
            assert whole_answer(connection).startswith(b"HTTP/1.1 415 ")

    def test_a_replay_is_answered_though_the_dataset_is_dropped(self, rest: Rest) -> None:
        name = rest.create(CONTRACT)
        headers = {"idempotency-key": uuid.uuid4().hex}
        first = rest.post(name, [{"k": "a"}], headers=headers).json()["id"]
        rest.succeeded(rest.http.delete(f"/api/v1/datasets/{name}", params={"confirm": name, "wait": 30}))
        assert rest.post(name, [{"k": "a"}], headers=headers).json()["id"] == first
        refused(rest.post(name, [{"k": "a"}]), 404, "unknown_dataset")


class TestHangUp:
    @pytest.mark.parametrize(
        "path", ["datasets", "datasets/{name}/search", "datasets/{name}/records", "datasets/{name}/validate"]
    )
    def test_in_the_middle_of_a_body_is_one_event_and_no_defect(self, rest: Rest, path: str) -> None:
        whole = f"/api/v1/{path.format(name=rest.create(CONTRACT))}"
        headers = {"content-type": "application/json", "content-length": "1000", "x-request-id": uuid.uuid4().hex}
        half_sent(rest, whole, headers, b'[{"k": ').close()

        def events() -> list[str]:
            lines = [line for line in rest.system.log("api").splitlines() if headers["x-request-id"] in line]
            return sorted(json.loads(line)["event"] for line in lines)

        assert eventually(lambda: events() if "request.ended" in events() else None, "the request has ended") == [
            "request.aborted", "request.ended",
        ]  # fmt: skip
