"""Refused early, refused exactly: a bad request gets a 4xx problem that says where and why; nothing of it is kept."""

import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from tests.support.rest import Json, Rest, new_name
from tests.support.system import System

pytestmark = pytest.mark.promise(4)

CONTRACT: Json = {
    "fields": [
        {"name": "k", "type": "text", "required": True},
        {"name": "i", "type": "integer"},
        {"name": "small", "type": "integer", "minimum": 0, "maximum": 10},
        {"name": "f", "type": "float"},
        {"name": "d", "type": "decimal", "precision": 5, "scale": 2},
        {"name": "t", "type": "timestamp"},
        {"name": "u", "type": "uuid"},
        {"name": "b", "type": "boolean"},
        {"name": "j", "type": "json"},
        {"name": "short", "type": "text", "max_length": 5},
        {"name": "long", "type": "text"},
        {"name": "img", "type": "image"},
        {"name": "v", "type": "vector", "dimensions": 3},
    ],
    "key": ["k"],
    "time_field": "t",
}
JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
STORED = """
SELECT (SELECT count(*) FROM gristmill.jobs) AS jobs, (SELECT count(*) FROM gristmill.chunks) AS chunks,
    (SELECT count(*) FROM gristmill.payloads) AS payloads, (SELECT count(*) FROM gristmill.idempotency_keys) AS keys,
    (SELECT count(*) FROM gristmill.datasets) AS datasets,
    (SELECT count(*) FROM gristmill.dataset_versions) AS versions"""


@pytest.fixture(scope="module")
def rest(system: System) -> Iterator[Rest]:
    with Rest(system) as found:
        yield found


@pytest.fixture(scope="module")
def name(rest: Rest) -> str:
    """A dataset with one record."""
    found = rest.create(CONTRACT)
    rest.store(found, [{"k": "kept"}])
    return found


@pytest.fixture(scope="module")
def vectors(rest: Rest) -> str:
    """A dataset whose vectors clients supply."""
    fields = [{"name": "k", "type": "text", "required": True}]
    return rest.create({"fields": fields, "key": ["k"], "embedding": {"dimensions": 3}})


@pytest.fixture(scope="module")
def connection(system: System) -> Iterator[Any]:
    """A connection for looking around every test."""
    with system.connect() as found:
        found.autocommit = True
        yield found


@pytest.fixture(autouse=True)
def nothing_is_kept(connection: Any, name: str, vectors: str) -> Iterator[None]:
    """Around every test: neither jobs nor rows nor idempotency keys come of what is refused."""

    def look() -> Any:
        rows = f"(SELECT array_agg(k) FROM data.{name}) AS rows, (SELECT count(*) FROM data.{vectors}) AS vectors"
        with connection.cursor() as cursor:
            cursor.execute(f"{STORED}, {rows}")
            return cursor.fetchone()

    before = look()
    assert (before["rows"], before["vectors"]) == (["kept"], 0)
    yield
    assert look() == before


def refused(answer: httpx.Response, status: int, code: str) -> Json:
    """Check that the answer is a whole problem object of this status and code, and return it."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem: Json = answer.json()
    assert (problem["status"], problem["code"]) == (status, code), problem
    assert problem["type"] == f"urn:gristmill:problem:{code}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert len(answer.content) < 100_000
    return problem


def place(problem: Json) -> tuple[Any, ...]:
    """The first place of a problem as (pointer, code); its record and field must agree with the pointer."""
    first = problem["errors"][0]
    assert first["reason"]
    steps = first["pointer"].split("/")[1:]
    if "record" in first:
        assert steps[0] == str(first["record"])
    if "field" in first and "record" in first:
        assert steps[1] == first["field"]
    return first["pointer"], first["code"]


def post(rest: Rest, name: str, body: bytes, kind: str = JSON, **options: Any) -> httpx.Response:
    headers = {"content-type": kind, "idempotency-key": new_name("key"), **options.pop("headers", {})}
    return rest.post(name, body, headers=headers, **options)


class TestValues:
    """One bad value in the second of three records."""

    @pytest.mark.parametrize(
        ("member", "pointer", "code", "shown"),
        [
            ('"i": "1"', "/1/i", "wrong_type", '"1"'),
            ('"i": 1.0', "/1/i", "wrong_type", "1.0"),
            ('"i": true', "/1/i", "wrong_type", "true"),
            ('"i": NaN', "/1/i", "wrong_type", "NaN"),
            ('"i": 9223372036854775808', "/1/i", "out_of_range", "9223372036854775808"),
            ('"i": -9223372036854775809', "/1/i", "out_of_range", "-9223372036854775809"),
            ('"small": 11', "/1/small", "out_of_range", "11"),
            ('"small": -1', "/1/small", "out_of_range", "-1"),
            ('"f": NaN', "/1/f", "not_finite", "NaN"),
            ('"f": Infinity', "/1/f", "not_finite", "Infinity"),
            ('"f": 1e400', "/1/f", "not_finite", ""),
            ('"f": "1"', "/1/f", "wrong_type", '"1"'),
            ('"d": 1.5', "/1/d", "decimal_from_float", "1.5"),
            ('"d": "1234.5"', "/1/d", "too_many_digits", "1234.5"),
            ('"d": "1.234"', "/1/d", "too_many_digits", "1.234"),
            ('"d": "NaN"', "/1/d", "not_a_decimal", "NaN"),
            ('"t": "2026-01-31T12:00:00"', "/1/t", "not_a_timestamp", "offset"),
            ('"t": "10000-01-01T00:00:00Z"', "/1/t", "not_a_timestamp", "10000"),
            ('"t": "9999-12-31T23:59:59-01:00"', "/1/t", "out_of_range", "9999"),
            ('"t": "2026-01-31T12:00:00.1234567Z"', "/1/t", "not_a_timestamp", "microsecond"),
            ('"t": 1769860800', "/1/t", "wrong_type", "1769860800"),
            ('"u": "123"', "/1/u", "not_a_uuid", "123"),
            ('"b": 1', "/1/b", "wrong_type", "1"),
            ('"j": "\\u0000"', "/1/j", "nul", "NUL"),
            ('"j": {"a": [1e400]}', "/1/j", "not_finite", ""),
            ('"short": "a\\u0000"', "/1/short", "nul", "NUL"),
            ('"short": "abcdef"', "/1/short", "too_long", "abcdef"),
            ('"long": "' + "x" * 65_537 + '"', "/1/long", "too_long", "65536"),
            ('"img": "bm90IGFuIGltYWdl"', "/1/img", "not_an_image", "PNG"),
            ('"img": "%%%"', "/1/img", "not_base64", "base64"),
            ('"v": [1, 2]', "/1/v", "wrong_length", "3"),
            ('"v": [1, 2, 1e39]', "/1/v/2", "out_of_range", ""),
            ('"v": [1, 2, null]', "/1/v/2", "null", "null"),
            ('"kk": 1', "/1/kk", "unknown_field", "kk"),
            ('"_seq": 1', "/1/_seq", "unknown_field", "_seq"),
            ('"k": null', "/1/k", "null", "null"),
        ],
    )
    def test_a_bad_value_is_named(
        self, rest: Rest, name: str, member: str, pointer: str, code: str, shown: str
    ) -> None:
        middle = f"{{{member}}}" if member.startswith('"k":') else f'{{"k": "b", {member}}}'
        texts = ['{"k": "a"}', middle, '{"k": "c"}']
        for body, kind in (("[" + ",".join(texts) + "]", JSON), ("\n".join(texts), NDJSON)):
            problem = refused(post(rest, name, body.encode(), kind), 422, "invalid")
            assert (place(problem), problem["errors_total"]) == ((pointer, code), 1)
            assert problem["errors"][0]["record"] == 1
            assert shown in problem["errors"][0]["reason"]
            assert len(problem["errors"][0]["reason"]) < 400
            if kind == NDJSON:
                assert problem["errors"][0]["line"] == 2

    def test_a_missing_field_is_named(self, rest: Rest, name: str) -> None:
        problem = refused(post(rest, name, b'[{"k": "a"}, {"i": 1}]'), 422, "invalid")
        assert place(problem) == ("/1/k", "missing")

    @pytest.mark.parametrize(
        ("vector", "code"),
        [
            ("[0, 0, 0]", "zero_vector"),
            ("[1, 2]", "wrong_length"),
            ("[1, 2, 3, 4]", "wrong_length"),
        ],
    )
    def test_a_bad_embedding_is_named(self, rest: Rest, vectors: str, vector: str, code: str) -> None:
        body = f'[{{"k": "a", "_embedding": [1, 2, 3]}}, {{"k": "b", "_embedding": {vector}}}]'
        problem = refused(post(rest, vectors, body.encode()), 422, "invalid")
        assert place(problem) == ("/1/_embedding", code)

    def test_csv_cells_are_named_with_their_line(self, rest: Rest, name: str) -> None:
        body = b'k,i,t\na,1,2026-01-31T12:00:00Z\n"b\nb",x,2026-01-31\n'
        problem = refused(post(rest, name, body, CSV), 422, "invalid")
        assert [(error["pointer"], error["code"], error["line"]) for error in problem["errors"]] == [
            ("/1/i", "wrong_type", 3),
            ("/1/t", "not_a_timestamp", 3),
        ]

    def test_at_most_100_errors_are_listed_and_all_are_counted(self, rest: Rest, name: str) -> None:
        body = json.dumps([{"k": str(number), "i": "x", "zz": 1} for number in range(2000)]).encode()
        problem = refused(post(rest, name, body), 422, "invalid")
        assert (len(problem["errors"]), problem["errors_total"]) == (100, 4000)
        assert problem["errors"][-1]["record"] == 49

    def test_a_late_error_takes_back_everything_before_it(self, rest: Rest, name: str) -> None:
        lines = [json.dumps({"k": str(number)}) for number in range(50_000)]
        problem = refused(post(rest, name, "\n".join([*lines, '{"k": 1}']).encode(), NDJSON), 422, "invalid")
        assert place(problem) == ("/50000/k", "wrong_type")


class TestBodies:
    @pytest.mark.parametrize(
        ("body", "kind", "status", "code"),
        [
            (b'[{"k": "a"', JSON, 400, "malformed"),
            (b'[{"k": "a"},]', JSON, 400, "malformed"),
            (b'[{"k": "a"} {"k": "b"}]', JSON, 400, "malformed"),
            (b'[{"k": "a"}] []', JSON, 400, "malformed"),
            (b"[{'k': 'a'}]", JSON, 400, "malformed"),
            (b'[{"k": "\\ud800"}]', JSON, 400, "malformed"),
            (b'[{"k": "a"}, 1]', JSON, 422, "wrong_type"),
            (b'{"k": "a"}', JSON, 422, "missing"),
            (b'{"records": [{"k": "a"}], "more": 1}', JSON, 422, "unknown_member"),
            (b'"text"', JSON, 400, "malformed"),
            (b"", JSON, 400, "malformed"),
            (b"[]", JSON, 422, "empty"),
            (b'{"records": []}', JSON, 422, "empty"),
            (b"[" * 100_000, JSON, 400, "malformed"),
            (b'[{"k":"a","j":' + b"[" * 100_000 + b"]" * 100_000 + b"}]", JSON, 422, "too_deep"),
            (b'{"k":"a","j":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}", NDJSON, 422, "too_deep"),
            ('[{"k": "é"}]'.encode("latin-1"), JSON, 400, "malformed"),
            ('[{"k": "é"}]'.encode("utf-16"), JSON, 400, "wrong_encoding"),
            (b'{"k": "a"}\n{"k": \n', NDJSON, 400, "malformed"),
            ('{"k": "é"}\n'.encode("latin-1"), NDJSON, 400, "malformed"),
            (b"\n\n", NDJSON, 422, "empty"),
            (b"k,i\na,1,2\n", CSV, 422, "uneven_row"),
            (b"k,i\na\n", CSV, 422, "uneven_row"),
            (b"k,i\na,007\n", CSV, 422, "wrong_type"),
            (b"k,zz\na,1\n", CSV, 422, "unknown_field"),
            (b"k,k\na,b\n", CSV, 422, "duplicate"),
            (b"i\n1\n", CSV, 422, "missing"),
            (b'k,i\n"a,1\n', CSV, 400, "malformed"),
            (b'k,i\na"b,1\n', CSV, 400, "malformed"),
            ("k,short\na,é\n".encode("latin-1"), CSV, 400, "malformed"),
            (b"k,i\n", CSV, 422, "empty"),
            (b"", CSV, 422, "empty"),
        ],
    )
    def test_what_cannot_be_read_is_refused(
        self, rest: Rest, name: str, body: bytes, kind: str, status: int, code: str
    ) -> None:
        problem = refused(post(rest, name, body, kind), status, "malformed" if status == 400 else "invalid")
        assert place(problem)[1] == code
        again = rest.http.post(f"/api/v1/datasets/{name}/validate", content=body, headers={"content-type": kind})
        assert place(refused(again, status, problem["code"])) == place(problem)

    @pytest.mark.parametrize(
        "headers",
        [
            {"content-type": "application/xml"},
            {"content-type": ""},
            {"content-type": "application/json; charset=latin-1"},
            {"content-type": JSON, "content-encoding": "gzip"},
        ],
    )
    def test_unsupported_content_names_what_is_supported(self, rest: Rest, name: str, headers: dict[str, str]) -> None:
        problem = refused(post(rest, name, b"[]", headers=headers), 415, "unsupported_media_type")
        assert any(word in problem["detail"] for word in (NDJSON, "UTF-8", "uncompressed"))


@pytest.fixture(scope="module")
def small(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rest]:
    """An API of its own with small limits."""
    limits = {"api_max_body_bytes": 4096, "api_max_json_bytes": 2048}
    found = System(system.database_url, system.broker_url, tmp_path_factory.mktemp("small"), **limits)
    found.start("api")
    with Rest(found) as rest:
        yield rest
    found.stop()


class TestSize:
    @pytest.mark.parametrize(("kind", "size"), [(JSON, 4097), (NDJSON, 4097), (CSV, 1_000_000)])
    def test_a_length_over_the_limit_is_refused_before_the_body_is_read(
        self, small: Rest, name: str, kind: str, size: int
    ) -> None:
        with socket.create_connection(("127.0.0.1", small.system.port), timeout=10) as connection:
            head = f"POST /api/v1/datasets/{name}/records HTTP/1.1\r\nHost: localhost\r\n"
            connection.sendall(f"{head}Content-Type: {kind}\r\nContent-Length: {size}\r\n\r\n".encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert (answer.status, json.loads(answer.read())["code"]) == (413, "too_large")

    @pytest.mark.parametrize(("kind", "size"), [(JSON, 5000), (NDJSON, 5000)])
    def test_a_stream_without_length_is_refused_when_it_has_gone_over(
        self, small: Rest, name: str, kind: str, size: int
    ) -> None:
        content = iter([b" " * 100] * (size // 100 + 1))
        answer = small.http.post(f"/api/v1/datasets/{name}/records", content=content, headers={"content-type": kind})
        refused(answer, 413, "too_large")

    def test_other_bodies_are_bounded_too(self, rest: Rest, name: str) -> None:
        body = b'{"text": "' + b"x" * 2_000_000 + b'"}'
        refused(rest.http.post(f"/api/v1/datasets/{name}/search", content=body), 413, "too_large")
        refused(rest.http.post("/api/v1/datasets", content=body), 413, "too_large")


class TestContracts:
    @pytest.mark.parametrize(
        ("change", "pointer", "code"),
        [
            ({"name": "Bad Name"}, "/name", "bad_name"),
            ({"name": "x" * 49}, "/name", "bad_name"),
            ({"name": "1a"}, "/name", "bad_name"),
            ({"name": 'a"; drop table x'}, "/name", "bad_name"),
            ({"name": None}, "/name", None),
            ({"fields": []}, "/fields", None),
            ({"fields": [{"name": "k", "type": "text"}]}, "/fields/0/required", "nullable_key"),
            ({"fields": [{"name": "k", "type": "string", "required": True}]}, "/fields/0/type", None),
            ({"fields": [{"name": "_k", "type": "text", "required": True}]}, "/fields/0/name", "reserved_name"),
            ({"fields": [{"name": "k", "type": "json", "required": True}]}, "/key/0", None),
            ({"key": ["nope"]}, "/key/0", "unknown_field"),
            ({"key": ["k", "k"]}, "/key/1", "duplicate"),
            ({"time_field": "k"}, "/time_field", None),
            ({"embedding": {"from": ["k"], "embedder": "nope"}}, "/embedding/embedder", "unknown_embedder"),
            ({"embedding": {"dimensions": 0}}, "/embedding/dimensions", None),
            ({"colour": "red"}, "/colour", None),
            ({"pipeline": []}, "/pipeline", "not_supported"),
        ],
    )
    def test_a_bad_contract_is_refused_at_its_place(
        self, rest: Rest, change: Json, pointer: str, code: str | None
    ) -> None:
        contract = {"name": new_name(), "fields": [{"name": "k", "type": "text", "required": True}], "key": ["k"]}
        problem = refused(rest.http.post("/api/v1/datasets", json={**contract, **change}), 422, "invalid")
        found = {error["pointer"]: error["code"] for error in problem["errors"]}
        assert pointer in found, problem
        assert code in (None, found[pointer])

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000])
    def test_a_contract_that_is_no_json_is_malformed(self, rest: Rest, body: bytes) -> None:
        refused(rest.http.post("/api/v1/datasets", content=body), 400, "malformed")

    @pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"x"'])
    def test_a_contract_that_is_no_object_is_invalid(self, rest: Rest, body: bytes) -> None:
        refused(rest.http.post("/api/v1/datasets", content=body), 422, "invalid")

    @pytest.mark.parametrize(
        "change",
        [
            {"alter_fields": [{"name": "small", "maximum": 5}]},
            {"alter_fields": [{"name": "nope", "maximum": 5}]},
            {"alter_fields": [{"name": "k", "required": False}]},
            {"alter_fields": [{"name": "short", "type": "integer"}]},
            {"add_fields": [{"name": "new", "type": "text", "required": True}]},
            {"add_fields": [{"name": "i", "type": "text"}]},
            {"drop_fields": ["i"]},
            {},
        ],
    )
    def test_a_change_that_is_no_widening_is_refused(self, rest: Rest, name: str, change: Json) -> None:
        assert refused(rest.http.patch(f"/api/v1/datasets/{name}", json=change), 422, "invalid")["errors"]

    def test_a_name_is_taken_once(self, rest: Rest, name: str) -> None:
        refused(rest.http.post("/api/v1/datasets", json={**CONTRACT, "name": name}), 409, "dataset_exists")


class TestUnknown:
    def test_an_unknown_job_is_404_and_never_pending(self, rest: Rest) -> None:
        for job_id in ("01a20057-03b9-7b4b-9c56-c3c3aee7a1ed", "nope", "%00", "x" * 500):
            for method, path in (("GET", ""), ("GET", "?wait=1"), ("POST", "/cancel"), ("POST", "/retry")):
                target, _, query = path.partition("?")
                answer = rest.http.request(method, f"/api/v1/jobs/{job_id}{target}?{query}")
                refused(answer, 404, "unknown_job")

    def test_an_unknown_dataset_is_404_everywhere(self, rest: Rest) -> None:
        for name in ("nowhere", "Bad Name", "%00", "..%2f..", "x" * 5000, "%ff", "gristmill.jobs"):
            url = f"/api/v1/datasets/{name}"
            for method, path, body in (
                ("GET", "", None),
                ("PATCH", "", {"add_fields": [{"name": "x", "type": "text"}]}),
                ("DELETE", "", None),
                ("POST", "/records", [{"k": "a"}]),
                ("POST", "/validate", [{"k": "a"}]),
                ("POST", "/records/delete", {"where": {}}),
                ("PATCH", "/records/a", {"i": 1}),
                ("DELETE", "/records/a", None),
                ("GET", "/records", None),
                ("GET", "/records/a", None),
                ("GET", "/latest", None),
                ("POST", "/search", {"text": "x"}),
            ):
                answer = (
                    rest.http.request(method, url + path, json=body) if body else rest.http.request(method, url + path)
                )
                if "%2f" in name:
                    # A slash parts the path, so this may be no route at all.
                    assert answer.status_code in (404, 405)
                else:
                    refused(answer, 404, "unknown_dataset")

    def test_an_unknown_record_is_404(self, rest: Rest, name: str) -> None:
        for key in ("nope", "a/b", "..", "%2e%2e", "%ff"):
            url = f"/api/v1/datasets/{name}/records/{key}"
            if key == "..":
                continue
            refused(rest.http.get(url), 404, "unknown_record")
            refused(rest.http.patch(url, json={"i": 1}), 404, "unknown_record")
            refused(rest.http.delete(url), 404, "unknown_record")

    def test_an_impossible_key_is_refused(self, rest: Rest, name: str) -> None:
        for method in ("GET", "DELETE"):
            problem = refused(rest.http.request(method, f"/api/v1/datasets/{name}/records/%00"), 422, "invalid")
            assert place(problem) == ("/path/key", "nul")

    @pytest.mark.parametrize(
        "path", ["/nowhere", "/api/v1", "/api/v1/", "/api/v2/jobs", "/api/v1//datasets", "/api/v1/datasets/", "/%00"]
    )
    def test_other_paths_are_404(self, rest: Rest, path: str) -> None:
        refused(rest.http.get(path), 404, "not_found")

    def test_a_path_of_any_length_is_answered(self, rest: Rest) -> None:
        for length in (1000, 30_000):
            refused(rest.http.get("/" + "x" * length), 404, "not_found")

    @pytest.mark.parametrize(
        ("method", "path", "allowed"),
        [
            ("PUT", "/jobs", "GET"),
            ("POST", "/jobs/01a20057-03b9-7b4b-9c56-c3c3aee7a1ed", "GET"),
            ("DELETE", "/jobs/01a20057-03b9-7b4b-9c56-c3c3aee7a1ed", "GET"),
            ("GET", "/jobs/01a20057-03b9-7b4b-9c56-c3c3aee7a1ed/cancel", "POST"),
            ("PUT", "/datasets", "GET, POST"),
            ("POST", "/datasets/x", "DELETE, GET, PATCH"),
            ("PUT", "/datasets/x/records", "GET, POST"),
            ("PUT", "/datasets/x/records/a", "DELETE, GET, PATCH"),
            ("GET", "/datasets/x/search", "POST"),
            ("OPTIONS", "/datasets", "GET, POST"),
            ("TRACE", "/datasets", "GET, POST"),
        ],
    )
    def test_a_wrong_method_is_405_and_says_which_are_right(
        self, rest: Rest, method: str, path: str, allowed: str
    ) -> None:
        answer = rest.http.request(method, f"/api/v1{path}")
        assert refused(answer, 405, "method_not_allowed")["allow"] == answer.headers["allow"] == allowed

    def test_head_has_no_body(self, rest: Rest) -> None:
        for path in ("/healthz", "/api/v1/jobs"):
            answer = rest.http.head(path)
            assert answer.status_code in (200, 405)
            assert answer.content == b""


class TestParameters:
    @pytest.mark.parametrize(
        "query",
        [
            "state=pending", "page_size=0", "page_size=1001", "page_size=x", "page_token=abc", "page_token=e30",
            "page_token=%00", "page_token=" + "x" * 3000, "label=x", "label=%00=1", "created_after=yesterday",
            "created_after=2026-01-01T00:00:00", "type=%00", "dataset=" + "x" * 200,
        ],
    )  # fmt: skip
    def test_of_the_list_of_jobs(self, rest: Rest, query: str) -> None:
        answer = rest.http.get(f"/api/v1/jobs?{query}")
        problem = refused(answer, *((400, "malformed") if "token=" in query and len(query) < 99 else (422, "invalid")))
        assert place(problem)[0].startswith(f"/query/{query.split('=')[0]}")

    def test_of_the_list_of_datasets(self, rest: Rest) -> None:
        for token in ("abc", "e30", "%00"):
            problem = refused(rest.http.get(f"/api/v1/datasets?page_token={token}"), 400, "malformed")
            assert place(problem) == ("/query/page_token", "bad_page_token")

    @pytest.mark.parametrize(
        "query",
        [
            "start=x", "end=2026-01-01T00:00:00", "order=zz", "order=j", "order=k,k", "order=", "where={", "where=[]",
            'where={"zz":1}', 'where={"i":"x"}', 'where={"i":{"like":1}}', 'where={"i":null}', "where=NaN",
            'where={"i":1e400}', "where=" + "[" * 20_000, 'where={"k":"\\u0000"}', "page_size=0", "page_token=e30",
            "page_token=!!!", "include=x",
        ],
    )  # fmt: skip
    def test_of_a_page_of_records(self, rest: Rest, name: str, query: str) -> None:
        key, _, value = query.partition("=")
        answer = rest.http.get(f"/api/v1/datasets/{name}/records", params={key: value})
        assert answer.status_code in (400, 422), answer.text
        problem = refused(answer, answer.status_code, "malformed" if answer.status_code == 400 else "invalid")
        assert place(problem)[0].startswith((f"/query/{key}", f"/{key}"))

    @pytest.mark.parametrize(
        "query",
        [
            "wait=soon", "wait=-1", "wait=nan", "wait=inf", "priority=10", "priority=high", "label=x", "run_at=later",
            "on_conflict=merge", "on_error=quarantine", "on_error=x",
        ],
    )  # fmt: skip
    def test_of_a_write(self, rest: Rest, name: str, query: str) -> None:
        key, _, value = query.partition("=")
        problem = refused(post(rest, name, b'[{"k": "a"}]', params={key: value}), 422, "invalid")
        assert place(problem)[0] == f"/query/{key}"

    @pytest.mark.parametrize(
        ("method", "path", "query"),
        [
            ("POST", "/records", "on_conflct=fail"),
            ("POST", "/validate", "wait=1"),
            ("GET", "/records", "were={}"),
            ("GET", "/latest", "page_size=3"),
            ("GET", "", "wait=1"),
            ("DELETE", "", "force=true"),
            ("POST", "/search", "k=3"),
        ],
    )
    def test_a_misspelt_one_is_not_passed_over(self, rest: Rest, name: str, method: str, path: str, query: str) -> None:
        answer = rest.http.request(method, f"/api/v1/datasets/{name}{path}?{query}")
        problem = refused(answer, 422, "invalid")
        assert place(problem) == (f"/query/{query.split('=')[0]}", "unknown_parameter")

    @pytest.mark.parametrize("key", ["", "a b", "x" * 256, "é".encode().decode("latin-1")])
    def test_of_the_idempotency_key(self, rest: Rest, name: str, key: str) -> None:
        headers = {"content-type": JSON, "idempotency-key": key.encode("latin-1")}
        problem = refused(rest.post(name, b'[{"k": "a"}]', headers=headers), 422, "invalid")  # type: ignore[arg-type]
        assert place(problem) == ("/header/Idempotency-Key", "bad_header")

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            ({}, ""),
            ({"text": "a", "vector": [1, 2, 3]}, "/vector"),
            ({"vector": [1, 2]}, "/vector"),
            ({"vector": [0, 0, 0]}, "/vector"),
            ({"vector": [1, 2, "x"]}, "/vector/2"),
            ({"vector": [1, 2, 3], "k": 0}, "/k"),
            ({"vector": [1, 2, 3], "k": 1001}, "/k"),
            ({"vector": [1, 2, 3], "where": {"zz": 1}}, "/where/zz"),
            ({"vector": [1, 2, 3], "mode": "hybrid"}, "/mode"),
            ({"vector": [1, 2, 3], "limit": 1}, "/limit"),
            ({"text": "a"}, "/text"),
            ({"like": 5}, "/like"),
        ],
    )
    def test_of_a_search(self, rest: Rest, vectors: str, body: Json, pointer: str) -> None:
        problem = refused(rest.http.post(f"/api/v1/datasets/{vectors}/search", json=body), 422, "invalid")
        assert pointer in [error["pointer"] for error in problem["errors"]]

    @pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"where": null}', b'{"where": {"zz": 1}}', b'{"were": {}}'])
    def test_of_a_delete(self, rest: Rest, name: str, body: bytes) -> None:
        answer = rest.http.post(f"/api/v1/datasets/{name}/records/delete", content=body)
        assert place(refused(answer, *((422, "invalid") if body else (400, "malformed"))))
