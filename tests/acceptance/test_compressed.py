"""Content-Encoding over HTTP: compressed records are stored like plain ones, and everything wrong is a 4xx."""

import gzip
import json

import pyarrow as pa
import pytest
from tests.support.refusals import place, refused
from tests.support.rest import Rest, new_name

CONTRACT = {"fields": [{"name": "k", "type": "integer", "required": True}, {"name": "t", "type": "text"}], "key": ["k"]}
NDJSON = {"content-type": "application/x-ndjson"}
RECORDS = [{"k": k, "t": f"record number {k}, with words that repeat"} for k in range(3000)]
PLAIN = b"".join(json.dumps(record).encode() + b"\n" for record in RECORDS)
GZIP = gzip.compress(PLAIN)
ZSTD = pa.Codec("zstd").compress(PLAIN, asbytes=True)


@pytest.fixture(scope="module")
def name(rest: Rest) -> str:
    return rest.create(CONTRACT)


class TestStored:
    @pytest.mark.parametrize(
        ("encoding", "body"), [("gzip", GZIP), ("zstd", ZSTD), ("GZip", GZIP + gzip.compress(b""))]
    )
    def test_what_was_compressed_reads_back_equal(self, rest: Rest, encoding: str, body: bytes) -> None:
        made = rest.create(CONTRACT)
        job = rest.succeeded(rest.post(made, body, headers={**NDJSON, "content-encoding": encoding}))
        assert job["record_counts"]["succeeded"] == len(RECORDS)
        assert rest.rows(made) == RECORDS

    def test_validate_takes_it_too(self, rest: Rest, name: str) -> None:
        headers = {**NDJSON, "content-encoding": "zstd"}
        answer = rest.http.post(f"/api/v1/datasets/{name}/validate", content=ZSTD, headers=headers)
        assert (answer.status_code, answer.json()["records"]) == (200, len(RECORDS))

    def test_the_same_compressed_request_again_is_the_same_job(self, rest: Rest, name: str) -> None:
        headers = {**NDJSON, "content-encoding": "gzip", "idempotency-key": new_name("key")}
        first, second = (rest.post(name, GZIP, headers=headers) for _ in range(2))
        assert first.json()["id"] == second.json()["id"]
        other = rest.post(name, PLAIN, headers={**NDJSON, "idempotency-key": headers["idempotency-key"]})
        refused(other, 422, "idempotency_key_reused")

    def test_places_are_those_of_the_inflated_body(self, rest: Rest, name: str) -> None:
        body = gzip.compress(PLAIN + b'{"k": "x"}\n')
        problem = refused(rest.post(name, body, headers={**NDJSON, "content-encoding": "gzip"}), 422, "invalid")
        assert place(problem) == ("/3000/k", "wrong_type")
        assert problem["errors"][0]["line"] == 3001


class TestRefused:
    @pytest.mark.parametrize(("encoding", "body"), [("gzip", GZIP[:-100]), ("zstd", ZSTD[:-100])])
    def test_a_truncated_body_names_its_last_byte(self, rest: Rest, name: str, encoding: str, body: bytes) -> None:
        problem = refused(rest.post(name, body, headers={**NDJSON, "content-encoding": encoding}), 400, "malformed")
        assert problem["byte"] == len(body)
        assert problem["errors"][0]["code"] == "truncated"

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    def test_a_plain_body_that_claims_to_be_compressed(self, rest: Rest, name: str, encoding: str) -> None:
        problem = refused(rest.post(name, PLAIN, headers={**NDJSON, "content-encoding": encoding}), 400, "malformed")
        assert (problem["byte"], place(problem)) == (problem["byte"], ("", "malformed"))

    @pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip"])
    def test_an_unknown_encoding_lists_the_valid_ones(self, rest: Rest, name: str, encoding: str) -> None:
        answer = rest.post(name, GZIP, headers={**NDJSON, "content-encoding": encoding})
        assert "gzip, zstd, identity" in refused(answer, 415, "unsupported_media_type")["detail"]

    def test_other_writes_take_no_compressed_body(self, rest: Rest, name: str) -> None:
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        answer = rest.http.patch(rest.record(name, "1"), content=gzip.compress(b'{"t": "x"}'), headers=headers)
        refused(answer, 415, "unsupported_media_type")
