"""Refused early, refused exactly: bad records get a 4xx problem that says where and why; nothing of them is kept."""

import http.client
import json
import socket
from collections.abc import Iterator

import pytest
from tests.support.refusals import CSV, JSON, NDJSON, place, post, refused
from tests.support.rest import Rest
from tests.support.system import System

pytestmark = [pytest.mark.promise(4), pytest.mark.usefixtures("nothing_is_kept")]


@pytest.fixture(scope="module")
def name(kept: str) -> str:
    """A dataset with one record."""
    return kept


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
            (b'[{"k": "\\ud800"}]', JSON, 422, "bad_unicode"),
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
            {"content-type": JSON, "content-encoding": "br"},
        ],
    )
    def test_unsupported_content_names_what_is_supported(self, rest: Rest, name: str, headers: dict[str, str]) -> None:
        problem = refused(post(rest, name, b"[]", headers=headers), 415, "unsupported_media_type")
        assert any(word in problem["detail"] for word in (NDJSON, "UTF-8", "zstd"))


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
        refused(
            rest.http.post("/api/v1/datasets", content=body, headers={"content-type": "application/json"}),
            413,
            "too_large",
        )
        # An image, or a hundred vectors, are more.
        refused(
            rest.http.post(
                f"/api/v1/datasets/{name}/search", content=body * 5, headers={"content-type": "application/json"}
            ),
            413,
            "too_large",
        )
