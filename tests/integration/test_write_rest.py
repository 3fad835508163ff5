"""Record writes from the REST call to the rows, with the real submit, dispatch and worker code in one process."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.in_process import CSV, NDJSON, InProcess

THINGS = {
    "fields": [
        {"name": "k", "type": "text", "required": True},
        {"name": "n", "type": "integer", "required": True},
        {"name": "v", "type": "integer", "maximum": 1000},
        {"name": "t", "type": "text"},
    ],
    "key": ["k", "n"],
}
ONE = {"fields": [{"name": "k", "type": "text", "required": True}, {"name": "v", "type": "integer"}], "key": ["k"]}


class TestSubmit:
    @pytest.mark.parametrize(
        ("body", "headers"),
        [
            (b'[{"k":"a","v":1},{"k":"b","v":null}]', {"content-type": "application/json; charset=utf-8"}),
            (b'{"records":[{"k":"a","v":1},{"k":"b"}]}', {"content-type": "application/json"}),
            (b'{"k":"a","v":1}\n{"k":"b"}\n', NDJSON),
            (b"k,v\na,1\nb,\n", CSV),
        ],
    )
    def test_every_format_gives_the_same_rows(self, app: InProcess, body: bytes, headers: dict[str, str]) -> None:
        name = app.dataset(ONE)
        answer = app.post(name, body, headers=headers)
        assert answer.status_code == 202
        assert answer.json()["links"]["self"] == answer.headers["location"]
        job = app.job(answer)
        assert (job["state"], job["record_counts"]["succeeded"]) == ("succeeded", 2)
        assert app.rows(name) == [{"k": "a", "v": 1}, {"k": "b", "v": None}]

    def test_a_large_body_becomes_many_chunks_and_the_last_duplicate_wins(self, database_url: str) -> None:
        app = InProcess(database_url, jobs_chunk_records=1000, jobs_chunk_bytes=10_000)
        with app.http:
            name = app.dataset(ONE)
            lines = [json.dumps({"k": f"k{n % 4000}", "v": n}) for n in range(5000)]
            # Larger than what stays in memory, so that body and chunks go to disk.
            body = "\n".join(line + " " * 300 for line in lines).encode()
            answer = app.post(name, body, headers=NDJSON)
            assert answer.json()["chunks"]["total"] > 5
            job = app.job(answer)
            counts = job["record_counts"]
            assert counts["total"] == counts["succeeded"] + counts["superseded"] == 5000
            with app.gristmill.database.autocommit() as connection:
                found = connection.exec_driver_sql(f"SELECT count(*), sum(v) FROM data.{name}").one()
            assert tuple(found) == (4000, sum(range(1000, 5000)))
        app.gristmill.database.close()

    def test_nothing_of_a_bad_batch_is_stored_or_queued(self, app: InProcess) -> None:
        name = app.dataset(THINGS)
        app.work()
        answer = app.post(
            name, [{"k": "a", "n": 1, "v": 1}, {"k": "b", "n": "2", "x": 1}, {"k": "c", "n": 3, "v": 1001}]
        )
        problem = answer.json()
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert [(place["pointer"], place["code"]) for place in problem["errors"]] == [
            ("/1/n", "wrong_type"), ("/1/x", "unknown_field"), ("/2/v", "out_of_range"),
        ]  # fmt: skip
        assert problem["errors_total"] == 3
        assert app.work() == 0
        assert app.rows(name) == []

    @pytest.mark.parametrize(
        ("body", "headers", "status"),
        [
            (b"[", {"content-type": "application/json"}, 400),
            (b"[]", {"content-type": "application/json"}, 422),
            (b"", {"content-type": "application/json"}, 400),
            (b"k,v\n", CSV, 422),
            (b'{"k":"\xff"}', NDJSON, 400),
            (b"[]", {"content-type": "application/xml"}, 415),
            (b"[]", {"content-type": "application/json; charset=utf-16"}, 415),
            (b"[]", {"content-type": "application/json", "content-encoding": "br"}, 415),
            (b"[]", {"content-type": "application/json", "content-encoding": "gzip"}, 400),
            (b"[" * 100_000, {"content-type": "application/json"}, 400),
        ],
    )
    def test_bad_bodies_have_their_status(
        self, app: InProcess, body: bytes, headers: dict[str, str], status: int
    ) -> None:
        name = app.dataset(ONE)
        assert app.post(name, body, headers=headers).status_code == status
        assert app.post(name, body, "validate", headers=headers).status_code == status

    def test_other_refusals(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        assert app.post("nowhere", [{"k": "a"}]).status_code == 404
        assert app.post(name, [{"k": "a"}], params={"on_conflict": "merge"}).status_code == 422
        assert app.post(name, [{"k": "a"}], params={"on_error": "skip"}).status_code == 422
        unkeyed = app.dataset({"fields": ONE["fields"]})
        assert app.post(unkeyed, [{"k": "a"}], params={"on_conflict": "fail"}).json()["code"] == "no_key"

    def test_oversized_bodies_are_refused_by_length_and_while_streaming(self, database_url: str) -> None:
        app = InProcess(database_url, api_max_body_bytes=4096, api_max_json_bytes=2048)
        with app.http:
            name = app.dataset(ONE)
            assert app.post(name, b" " * 5000, headers={"content-type": "application/json"}).status_code == 413
            url = f"/api/v1/datasets/{name}/records"
            streamed = app.http.post(url, content=iter([b"\n" * 1000] * 5), headers=NDJSON)
            assert (streamed.status_code, streamed.json()["code"]) == (413, "too_large")
        app.gristmill.database.close()

    def test_a_full_spool_is_503_and_is_free_again_afterwards(self, database_url: str) -> None:
        app = InProcess(database_url, api_max_spool_bytes=2 * 1024 * 1024)
        with app.http:
            name = app.dataset(ONE)
            body = b'{"k":"a","v":1}\n' * 200_000
            answer = app.post(name, body, headers=NDJSON)
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) > 0
            for _ in range(3):
                assert app.post(name, body[:1_600_000], headers=NDJSON).status_code == 202
        app.gristmill.database.close()

    def test_validate_counts_and_stores_nothing(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        app.work()
        answer = app.post(name, [{"k": "a"}, {"k": "b"}], "validate")
        assert (answer.status_code, answer.json()["records"]) == (200, 2)
        assert app.post(name, [{"k": 1}], "validate").status_code == 422
        assert (app.work(), app.rows(name)) == (0, [])

    def test_a_json_column_keeps_the_depth_limit(self, app: InProcess) -> None:
        name = app.dataset({"fields": [{"name": "j", "type": "json"}]})
        for depth, status in ((33, 422), (32, 202), (100_000, 422)):
            value = "[" * depth + "]" * depth
            answer = app.post(name, f'{{"j":{value}}}\n'.encode(), headers=NDJSON)
            assert answer.status_code == status, (depth, answer.text)


class TestIdempotency:
    def test_the_same_request_is_the_first_job_whatever_happened_since(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        headers = {"idempotency-key": "one"}
        first = app.post(name, [{"k": "a"}], headers=headers)
        again = app.post(name, [{"k": "a"}], headers=headers, params={"wait": 0})
        assert first.json()["id"] == again.json()["id"]
        app.job(app.http.delete(f"/api/v1/datasets/{name}?confirm={name}"))
        assert app.post(name, [{"k": "a"}], headers=headers).json()["id"] == first.json()["id"]
        other = app.post(name, [{"k": "b"}], headers=headers)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


class TestConflict:
    def test_fail_is_refused_at_submit_when_nothing_is_unfinished(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        app.job(app.post(name, [{"k": "a", "v": 1}]))
        answer = app.post(name, [{"k": "b"}, {"k": "a"}], params={"on_conflict": "fail"})
        assert (answer.status_code, answer.json()["code"]) == (409, "key_exists")
        assert (answer.json()["record"], answer.json()["key"]) == (1, "a")
        assert app.job(app.post(name, [{"k": "b"}], params={"on_conflict": "fail"}))["state"] == "succeeded"

    def test_fail_is_decided_by_the_job_when_something_is_unfinished(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        app.post(name, [{"k": "a", "v": 1}])
        job = app.job(app.post(name, [{"k": "a", "v": 2}], params={"on_conflict": "fail"}))
        assert (job["state"], job["error"]["code"]) == ("failed", "key_exists")
        assert app.rows(name) == [{"k": "a", "v": 1}]


class TestChange:
    def test_patch_and_delete_a_record_with_a_composite_key(self, app: InProcess) -> None:
        name = app.dataset(THINGS)
        key = ["a/b ü", 7]
        app.job(app.post(name, [{"k": key[0], "n": key[1], "v": 1, "t": "old"}]))
        assert app.job(app.http.patch(app.key(name, key), json={"v": 2}))["state"] == "succeeded"
        assert app.rows(name) == [{"k": "a/b ü", "n": 7, "v": 2, "t": "old"}]
        job = app.job(app.http.delete(app.key(name, key)))
        assert (job["state"], job["result"]) == ("succeeded", {"deleted": 1})
        assert app.rows(name) == []

    @pytest.mark.parametrize(
        ("changes", "status", "code"),
        [
            (b'{"v":1001}', 422, "out_of_range"),
            (b'{"k":null}', 422, "null"),
            (b'{"x":1}', 422, "unknown_field"),
            (b"{}", 422, "empty"),
            (b"[]", 422, "wrong_type"),
            (b'{"v":', 400, "malformed"),
            (b'{"v":' + b"[" * 100_000, 422, "too_deep"),
        ],
    )
    def test_bad_changes_are_refused(self, app: InProcess, changes: bytes, status: int, code: str) -> None:
        name = app.dataset(THINGS)
        answer = app.http.patch(app.key(name, ["a", 1]), content=changes, headers={"content-type": "application/json"})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (status, code)

    def test_unknown_records_are_404_at_submit_or_fail_the_job(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        pending = [app.http.patch(app.key(name, "a"), json={"v": 1}), app.http.delete(app.key(name, "a"))]
        for answer in pending:
            job = app.job(answer)
            assert (job["state"], job["error"]["code"]) == ("failed", "unknown_record")
        for answer in (
            app.http.patch(app.key(name, "a"), json={"v": 1}),
            app.http.delete(app.key(name, "a")),
        ):
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_record")

    def test_a_dataset_without_a_key_has_no_records_by_name(self, app: InProcess) -> None:
        name = app.dataset({"fields": ONE["fields"]})
        assert app.http.patch(app.key(name, "a"), json={"v": 1}).json()["code"] == "no_key"
        assert app.http.delete(app.key(name, "a")).status_code == 409

    def test_delete_where_counts_what_it_deleted(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        app.job(app.post(name, [{"k": f"{n}", "v": n} for n in range(10)]))
        job = app.job(app.post(name, {"where": {"v": {"ge": 4}}}, "records/delete"))
        assert job["result"] == {"deleted": 6}
        assert [row["v"] for row in app.rows(name)] == [0, 1, 2, 3]

    @pytest.mark.parametrize(
        "body", [{}, {"where": None}, {"where": {"x": 1}}, {"where": {"v": "a"}}, [], {"were": {}}]
    )
    def test_delete_where_needs_a_valid_filter(self, app: InProcess, body: Any) -> None:
        name = app.dataset(ONE)
        assert app.post(name, body, "records/delete").status_code == 422


class TestLifeOfADataset:
    def test_records_of_a_dropped_dataset_end_cancelled(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        app.work()
        queued = app.post(name, [{"k": "a"}])
        app.http.delete(f"/api/v1/datasets/{name}?confirm={name}")
        job = app.job(queued)
        assert (job["state"], job["error"]["detail"]) == ("cancelled", "cancelled: dataset dropped")

    def test_a_name_created_again_is_another_dataset(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        old = app.post(name, [{"k": "old"}])
        app.http.delete(f"/api/v1/datasets/{name}?confirm={name}")
        other = {"fields": [{"name": "other", "type": "integer", "required": True}], "key": ["other"], "name": name}
        assert app.http.post("/api/v1/datasets", json=other).status_code == 202
        new = app.post(name, [{"other": 1}])
        assert app.job(old)["state"] == "cancelled"
        assert app.job(new)["state"] == "succeeded"
        assert app.rows(name) == [{"other": 1}]

    def test_records_follow_a_contract_that_changes_under_them(self, app: InProcess) -> None:
        name = app.dataset(ONE)
        app.work()
        before = app.post(name, [{"k": "a", "v": 1}])
        change = {"add_fields": [{"name": "late", "type": "text"}]}
        assert app.http.patch(f"/api/v1/datasets/{name}", json=change).status_code == 202
        after = app.post(name, [{"k": "b", "late": "x"}])
        assert {app.job(before)["state"], app.job(after)["state"]} == {"succeeded"}
        assert app.rows(name) == [{"k": "a", "v": 1, "late": None}, {"k": "b", "v": None, "late": "x"}]


class TestEmbedding:
    def test_records_are_embedded_and_a_patch_embeds_anew(self, app: InProcess) -> None:
        fields = [{"name": "k", "type": "text", "required": True}, {"name": "t", "type": "text"}]
        name = app.dataset({"fields": fields, "key": ["k"], "embedding": {"from": ["t"], "embedder": "hashing"}})

        def vectors() -> list[Any]:
            with app.gristmill.database.autocommit() as connection:
                query = f"SELECT k, _embedding::text FROM data.{name} ORDER BY k"
                return list(connection.exec_driver_sql(query).all())

        app.job(app.post(name, [{"k": "a", "t": "a red fox"}, {"k": "b"}, {"k": "c", "t": "a red fox"}]))
        before = vectors()
        assert before[0][1] == before[2][1] is not None
        assert before[1][1] is None
        app.job(app.http.patch(app.key(name, "b"), json={"t": "a red fox"}))
        app.job(app.http.patch(app.key(name, "c"), json={"t": None}))
        assert vectors() == [("a", before[0][1]), ("b", before[0][1]), ("c", None)]


_KEYS = st.sampled_from("abc")
_STEP = st.one_of(
    st.tuples(st.just("upsert"), st.lists(st.tuples(_KEYS, st.integers(0, 9)), min_size=1, max_size=5)),
    st.tuples(st.just("fail"), st.lists(st.tuples(_KEYS, st.integers(0, 9)), min_size=1, max_size=2)),
    st.tuples(st.just("patch"), st.tuples(_KEYS, st.integers(10, 19))),
    st.tuples(st.just("delete"), _KEYS),
    st.tuples(st.just("where"), st.integers(0, 20)),
    st.tuples(st.just("work"), st.integers(1, 3)),
)


class TestOrder:
    @pytest.mark.promise(3)
    @given(steps=st.lists(_STEP, min_size=3, max_size=14))
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    def test_the_table_ends_as_a_dict_changed_in_the_order_of_submission(
        self, app: InProcess, steps: list[Any]
    ) -> None:
        name = app.dataset(ONE)
        model: dict[str, Any] = {}
        for step, value in steps:
            if step == "work":
                app.work(limit=value)
                continue
            answer = self._submit(app, name, step, value)
            expected = self._apply(model, step, value)
            if answer.status_code != 202:
                # Refused at submit exactly when the model refuses it too.
                assert answer.status_code in (404, 409, 422), answer.text
                assert (answer.status_code == 422) == (step == "fail" and _repeats(value)), answer.text
                assert not expected
        app.work()
        assert {row["k"]: row["v"] for row in app.rows(name)} == model

    def _submit(self, app: InProcess, name: str, step: str, value: Any) -> Any:
        if step in ("upsert", "fail"):
            mode = "fail" if step == "fail" else "replace"
            return app.post(name, [{"k": k, "v": v} for k, v in value], params={"on_conflict": mode})
        if step == "patch":
            return app.http.patch(app.key(name, value[0]), json={"v": value[1]})
        if step == "delete":
            return app.http.delete(app.key(name, value))
        return app.post(name, {"where": {"v": {"lt": value}}}, "records/delete")

    def _apply(self, model: dict[str, Any], step: str, value: Any) -> bool:
        """Apply the step to the model; return whether it was possible."""
        if step == "fail" and _repeats(value):
            return False
        if step == "upsert" or (step == "fail" and not any(k in model for k, _ in value)):
            model.update(value)
            return True
        if step == "patch" and value[0] in model:
            model[value[0]] = value[1]
            return True
        if step == "delete":
            return model.pop(value, None) is not None
        if step == "where":
            for k in [k for k, v in model.items() if v < value]:
                del model[k]
            return True
        return False


def _repeats(value: Any) -> bool:
    return len({k for k, _ in value}) < len(value)
