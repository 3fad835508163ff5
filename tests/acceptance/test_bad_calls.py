"""Refused early, refused exactly: bad contracts, paths and parameters; nothing is kept of what is refused."""

import pytest
from tests.support.refusals import CONTRACT, JSON, place, post, refused
from tests.support.rest import Json, Rest, new_name

pytestmark = [pytest.mark.promise(4), pytest.mark.usefixtures("nothing_is_kept")]


@pytest.fixture(scope="module")
def name(kept: str) -> str:
    """A dataset with one record."""
    return kept


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
            ({"pipeline": [{"op": "mop"}]}, "/pipeline/0/op", "unknown_step"),
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

    def test_a_contract_that_nests_too_deeply_is_called_so(self, rest: Rest) -> None:
        headers = {"content-type": "application/json"}
        problem = refused(rest.http.post("/api/v1/datasets", content=b"[" * 100_000, headers=headers), 422, "invalid")
        assert problem["errors"][0]["code"] == "too_deep"

    @pytest.mark.parametrize("body", [b"", b"{", b"\xff"])
    def test_a_contract_that_is_no_json_is_malformed(self, rest: Rest, body: bytes) -> None:
        refused(
            rest.http.post("/api/v1/datasets", content=body, headers={"content-type": "application/json"}),
            400,
            "malformed",
        )

    @pytest.mark.parametrize("body", [b"[]", b"null", b"1", b'"x"'])
    def test_a_contract_that_is_no_object_is_invalid(self, rest: Rest, body: bytes) -> None:
        refused(
            rest.http.post("/api/v1/datasets", content=body, headers={"content-type": "application/json"}),
            422,
            "invalid",
        )

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
            ("PUT", "/jobs", "GET, HEAD, POST"),
            ("POST", "/jobs/01a20057-03b9-7b4b-9c56-c3c3aee7a1ed", "GET, HEAD"),
            ("DELETE", "/jobs/01a20057-03b9-7b4b-9c56-c3c3aee7a1ed", "GET, HEAD"),
            ("GET", "/jobs/01a20057-03b9-7b4b-9c56-c3c3aee7a1ed/cancel", "POST"),
            ("PUT", "/datasets", "GET, HEAD, POST"),
            ("POST", "/datasets/x", "DELETE, GET, HEAD, PATCH"),
            ("PUT", "/datasets/x/records", "GET, HEAD, PATCH, POST"),
            ("PUT", "/datasets/x/records/a", "DELETE, GET, HEAD, PATCH"),
            ("GET", "/datasets/x/search", "POST"),
            ("OPTIONS", "/datasets", "GET, HEAD, POST"),
            ("TRACE", "/datasets", "GET, HEAD, POST"),
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
            "on_conflict=merge", "on_error=x", "retry_of=x",
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
            ({"vector": [1, 2, 3], "mode": "nearest"}, "/mode"),
            ({"vector": [1, 2, 3], "max_distance": "far"}, "/max_distance"),
            ({"vector": [1, 2, 3], "max_distance": 1, "min_score": 1}, "/min_score"),
            ({"vector": [1, 2, 3], "weights": {"text": 1}}, "/weights"),
            ({"vector": [1, 2, 3], "exact": "yes"}, "/exact"),
            ({"vector": [1, 2, 3], "page_size": 0}, "/page_size"),
            ({"vector": [1, 2, 3], "page_token": "x"}, "/page_size"),
            ({"queries": []}, "/queries"),
            ({"queries": {"vector": [1, 2, 3]}}, "/queries"),
            ({"queries": [{"vector": [1, 2, 3]}] * 101}, "/queries"),
            ({"queries": [{"vector": [1, 2, 3]}, {"vector": [1]}]}, "/queries/1/vector"),
            ({"queries": [{"vector": [1, 2, 3]}, {"k": 1}]}, "/queries/1/k"),
            ({"queries": [5]}, "/queries/0"),
            ({"queries": [{"vector": [1, 2, 3]}], "vector": [1, 2, 3]}, "/vector"),
            ({"queries": [{"vector": [1, 2, 3]}], "page_size": 5}, "/page_size"),
            ({"vector": [1, 2, 3], "limit": 1}, "/limit"),
            ({"text": "a"}, "/text"),
            ({"like": 5}, "/like"),
        ],
    )
    def test_of_a_search(self, rest: Rest, vectors: str, body: Json, pointer: str) -> None:
        problem = refused(rest.http.post(f"/api/v1/datasets/{vectors}/search", json=body), 422, "invalid")
        assert pointer in [error["pointer"] for error in problem["errors"]]

    @pytest.mark.parametrize(
        ("body", "pointer"),
        [
            (b'{"vector": [1, NaN, 3]}', "/vector/1"),
            (b'{"vector": [1, 2, 3], "max_distance": Infinity}', "/max_distance"),
            (b'{"vector": [1, 2, 3], "min_score": NaN}', "/min_score"),
        ],
    )
    def test_of_numbers_that_are_none(self, rest: Rest, vectors: str, body: bytes, pointer: str) -> None:
        problem = refused(
            rest.http.post(
                f"/api/v1/datasets/{vectors}/search", content=body, headers={"content-type": "application/json"}
            ),
            422,
            "invalid",
        )
        assert place(problem) == (pointer, "not_finite")

    @pytest.mark.parametrize("token", ["", "x", "e30", "W10", "WyIiLFtdXQ"])
    def test_of_the_page_token_of_a_search(self, rest: Rest, vectors: str, token: str) -> None:
        body = {"vector": [1, 2, 3], "page_size": 1, "page_token": token}
        problem = refused(rest.http.post(f"/api/v1/datasets/{vectors}/search", json=body), 400, "malformed")
        assert place(problem) == ("/page_token", "bad_page_token")

    @pytest.mark.parametrize("mode", ["text", "hybrid"])
    def test_words_where_the_contract_has_no_text_search(self, rest: Rest, vectors: str, mode: str) -> None:
        body = {"text": "a", "mode": mode}
        problem = refused(rest.http.post(f"/api/v1/datasets/{vectors}/search", json=body), 422, "not_searchable")
        assert place(problem) == ("/mode", "no_text_search")
        assert "text_search" in problem["detail"]

    @pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"where": null}', b'{"where": {"zz": 1}}', b'{"were": {}}'])
    def test_of_a_delete(self, rest: Rest, name: str, body: bytes) -> None:
        answer = rest.http.post(
            f"/api/v1/datasets/{name}/records/delete", content=body, headers={"content-type": "application/json"}
        )
        assert place(refused(answer, *((422, "invalid") if body else (400, "malformed"))))
