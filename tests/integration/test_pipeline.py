"""Pipelines of contracts from REST to rows: what is sent, computed, dropped, rejected, changed and counted."""

import contextlib
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.columnar import as_stream
from tests.support.in_process import CSV, NDJSON, InProcess, Job
from tests.support.steps import DOUBLE, STEPS

from gristmill.jobs.repository.dispatch import mark_sent

SIZES = [["small", 1], ["large", 3]]
BODY: Job = {
    "name": "shirts",
    "input": ["n", "colour", "note", {"name": "size_name", "type": "text", "required": True}],
    "fields": [
        {"name": "n", "type": "integer", "required": True},
        {"name": "colour", "type": "text", "computed": False},
        {"name": "code", "type": "text", "computed": True, "max_length": 2},
        {"name": "size", "type": "integer", "computed": True, "required": True, "maximum": 5},
        {"name": "note", "type": "text"},
    ],
    "key": ["n"],
    "pipeline": [
        {"op": "filter", "where": {"colour": {"ne": "grey"}}},
        {"op": "map", "column": "colour", "as": "code", "values": {"red": "R", "green": "GG", "blue": "BLUE"}},
        {"op": "map", "column": "size_name", "as": "size", "values": SIZES, "otherwise": "error"},
    ],
    "embedding": {"from": ["note"], "embedder": "hashing"},
}
RED = {"n": 1, "colour": "red", "size_name": "small", "note": "rain"}
STORED = {"n": 1, "colour": "red", "code": "R", "size": 1, "note": "rain"}


@pytest.fixture
def app(fresh_app: InProcess) -> InProcess:
    """The other instances work on its database."""
    return fresh_app


def counts(job: Job) -> dict[str, int]:
    found: dict[str, int] = {name: number for name, number in job["record_counts"].items() if number}
    return found


class TestIngest:
    def test_what_is_sent_becomes_what_is_stored_whatever_its_format(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        sent = [
            RED,
            {**RED, "n": 2, "colour": "grey"},
            {"n": 3, "size_name": "large", "colour": "green"},
            {**RED, "n": 4},
        ]
        csv = b"n,colour,size_name,note\n1,red,small,rain\n2,grey,small,rain\n3,green,large,\n4,red,small,rain\n"
        table = pa.Table.from_pylist(sent)
        arrow = {"content-type": "application/vnd.apache.arrow.stream"}
        for body, headers in ((sent, {}), (csv, CSV), (as_stream(table), arrow)):
            job = app.job(app.post(name, body, headers=headers))
            assert counts(job) == {"total": 4, "succeeded": 3, "dropped": 1}
            assert job["result"] == {"rows": 3}
            rows = [STORED, {"n": 3, "colour": "green", "code": "GG", "size": 3, "note": None}, {**STORED, "n": 4}]
            assert app.rows(name) == rows
        (hit,) = app.post(name, {"text": "rain", "k": 1, "where": {"n": 4}}, path="search").json()["hits"]
        assert hit["record"]["code"] == "R"

    def test_computed_fields_are_refused_from_clients_in_every_format(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        table = pa.table({"n": [1], "size_name": ["small"], "code": ["R"]})
        answers = [
            app.post(name, [{**RED, "code": "R"}]),
            app.post(name, b'{"n":1,"size_name":"small","code":"R"}\n', headers=NDJSON),
            app.post(name, b"n,size_name,code\n1,small,R\n", headers=CSV),
            app.post(name, as_stream(table), headers={"content-type": "application/vnd.apache.arrow.stream"}),
            app.post(name, [{**RED, "code": "R"}], path="validate"),
        ]
        for answer in answers:
            assert answer.status_code == 422
            (error,) = answer.json()["errors"]
            assert (error["code"], error["field"]) == ("computed_field", "code")
            assert error["pointer"].endswith("/code")
        answer = app.post(name, [{"n": 1, "colour": "red"}])
        assert [(e["code"], e["field"]) for e in answer.json()["errors"]] == [("missing", "size_name")]
        assert app.rows(name) == []

    @pytest.mark.parametrize(
        ("bad", "field", "code", "said"),
        [
            ({"colour": "blue"}, "code", "too_long", "BLUE"),
            ({"size_name": "huge"}, "size_name", "not_in_values", "step 2 (map)"),
        ],
    )
    def test_a_record_that_does_not_fit_afterwards_fails_the_job(
        self, app: InProcess, bad: Job, field: str, code: str, said: str
    ) -> None:
        name = app.dataset(BODY)
        job = app.job(app.post(name, [RED, {**RED, "n": 2, "colour": "grey"}, {**RED, "n": 3, **bad}]))
        error = job["error"]
        assert (job["state"], job["attempt"], error["code"], error["record"]) == ("failed", 1, "record_unfit", 2)
        assert [(e["pointer"], e["code"], e["record"]) for e in error["errors"]] == [(f"/2/{field}", code, 2)]
        assert said in error["errors"][0]["reason"]
        assert "Record 2" in error["detail"]
        assert app.rows(name) == []

    def test_a_required_field_that_the_pipeline_leaves_empty_does_not_fit(self, app: InProcess) -> None:
        pipeline = [*BODY["pipeline"][:2], {**BODY["pipeline"][2], "otherwise": "default"}]
        name = app.dataset({**BODY, "pipeline": pipeline})
        job = app.job(app.post(name, [{**RED, "size_name": "huge"}]))
        assert [(e["pointer"], e["code"]) for e in job["error"]["errors"]] == [("/0/size", "null")]

    def test_vectors_that_clients_send_follow_their_records(self, app: InProcess) -> None:
        name = app.dataset({**BODY, "embedding": {"dimensions": 2, "storage": "halfvec"}})
        sent = [{**RED, "n": n, "colour": "grey" if n % 2 else "red", "_embedding": [n + 1, 1]} for n in range(4)]
        job = app.job(app.post(name, sent))
        assert counts(job) == {"total": 4, "succeeded": 2, "dropped": 2}
        (hit,) = app.post(name, {"vector": [3, 1], "k": 1}, path="search").json()["hits"]
        assert (hit["record"]["n"], hit["distance"]) == (2, pytest.approx(0, abs=1e-6))

    def test_all_records_may_be_dropped(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        job = app.job(app.post(name, [{**RED, "colour": "grey"}]))
        assert (counts(job), job["result"]) == ({"total": 1, "dropped": 1}, {"rows": 0})
        assert (job["state"], job["progress"]) == ("succeeded", 1.0)

    def test_superseded_ones_are_counted_beside_dropped_ones(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        job = app.job(app.post(name, [RED, {**RED, "colour": "grey"}, {**RED, "note": "sun"}]))
        assert counts(job) == {"total": 3, "succeeded": 1, "superseded": 1, "dropped": 1}
        assert app.rows(name) == [{**STORED, "note": "sun"}]

    def test_on_conflict_fail_is_decided_by_the_job_once_the_filter_has_spoken(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, [RED]))
        job = app.job(app.post(name, [{**RED, "colour": "grey"}], path="records?on_conflict=fail"))
        assert (job["state"], counts(job)) == ("succeeded", {"total": 1, "dropped": 1})
        job = app.job(app.post(name, [{**RED, "n": 7, "colour": "grey"}, RED], path="records?on_conflict=fail"))
        assert (job["state"], job["error"]["code"], job["error"]["record"]) == ("failed", "key_exists", 1)


class TestQuarantine:
    def test_what_fails_in_the_worker_is_kept_beside_what_was_refused_at_once(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        sent: list[Any] = [
            RED,
            {**RED, "n": "x"},
            {**RED, "n": 3, "colour": "grey"},
            {**RED, "n": 4, "size_name": "huge"},
            {**RED, "n": 5, "colour": "blue", "note": "é\n"},
        ]
        job = app.job(app.post(name, sent, path="records?on_error=quarantine"))
        assert (job["state"], counts(job)) == ("succeeded", {"total": 5, "succeeded": 1, "rejected": 3, "dropped": 1})
        rejects = app.http.get(job["links"]["rejects"]).json()["rejects"]
        assert [(r["record"], r["values"], r["errors"][0]["code"]) for r in rejects] == [
            (1, sent[1], "wrong_type"), (3, sent[3], "not_in_values"), (4, sent[4], "too_long"),
        ]  # fmt: skip
        mended = [{**RED, "n": 2}, {**sent[3], "size_name": "large"}, {**sent[4], "colour": "green"}]
        again = app.job(app.post(name, mended, path=f"records?retry_of={job['id']}"))
        assert (counts(again), len(app.rows(name))) == ({"total": 3, "succeeded": 3}, 4)

    def test_rejects_of_a_csv_body_are_its_rows_and_can_be_mended_as_one(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        csv = 'note,size_name,n,colour\n"a, ""b""",huge,1,red\n,small,x,red\n,large,3,grey\n'
        job = app.job(app.post(name, csv.encode(), path="records?on_error=quarantine", headers=CSV))
        assert counts(job) == {"total": 3, "rejected": 2, "dropped": 1}
        found = app.http.get(job["links"]["rejects"]).json()["rejects"]
        assert [(r["record"], r["raw"]) for r in found] == [(0, '"a, ""b""",huge,1,red'), (1, ",small,x,red")]
        lines = app.http.get(f"{job['links']['rejects']}?format=csv").text.splitlines()
        assert lines[0].startswith("n,colour,note,size_name,_record")
        assert lines[1].startswith('1,red,"a, ""b""",huge,0')

    def test_a_job_that_is_run_again_keeps_its_rejects_once(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        sent = [RED, {**RED, "n": 2, "size_name": "huge"}]
        answer = app.post(name, sent, path="records?on_error=quarantine")
        app.work(limit=1)  # the table
        with app.gristmill.database.transaction() as connection:
            (message,) = mark_sent(connection, "default", 10)
        for _ in range(3):
            app.executor.run(message.job_id, message.number, message.dispatch)
        job = app.job(answer)
        assert counts(job) == {"total": 2, "succeeded": 1, "rejected": 1}
        assert [r["record"] for r in app.http.get(job["links"]["rejects"]).json()["rejects"]] == [1]


CUTS = (1, 2, 7)


@pytest.fixture
def cutting(database_url: str) -> Iterator[dict[int, InProcess]]:
    """By the number of records that a chunk has at most."""
    with contextlib.ExitStack() as stack:
        found = {size: InProcess(database_url, jobs_chunk_records=size) for size in CUTS}
        for one in found.values():
            stack.enter_context(one.http)
            stack.callback(one.gristmill.database.close)
        yield found


_colours = st.lists(st.sampled_from(["red", "green", "grey", "blue", None]), min_size=1, max_size=25)


class TestCuts:
    @settings(max_examples=15, deadline=None)
    @given(colours=_colours, size=st.sampled_from(CUTS))
    def test_any_cut_into_chunks_or_jobs_in_a_bundle_gives_the_same_rows(
        self, app: InProcess, cutting: dict[int, InProcess], colours: list[str | None], size: int
    ) -> None:
        whole, cut = app, cutting[size]
        sent = [{**RED, "n": n, "colour": colour} for n, colour in enumerate(colours)]
        one, several, bundled = whole.dataset(BODY), whole.dataset(BODY), whole.dataset(BODY)
        first = whole.job(whole.post(one, sent, path="records?on_error=quarantine"))
        second = whole.job(cut.post(several, sent, path="records?on_error=quarantine"))
        assert second["chunks"]["total"] == -(-len(sent) // size)
        answers = [whole.post(bundled, [record], path="records?on_error=quarantine") for record in sent]
        with whole.gristmill.database.transaction() as connection:
            messages = mark_sent(connection, "default", 100)
        assert len(messages) == len(sent)
        whole.executor.run_all([(m.job_id, m.number, m.dispatch) for m in messages])
        jobs = [whole.http.get(answer.json()["links"]["self"]).json() for answer in answers]
        assert all(job["state"] == "succeeded" for job in jobs)
        assert whole.rows(one) == whole.rows(several) == whole.rows(bundled)
        assert first["record_counts"] == second["record_counts"]
        assert first["result"] == second["result"] == {"rows": first["record_counts"]["succeeded"]}
        for name, number in first["record_counts"].items():
            assert sum(job["record_counts"][name] for job in jobs) == number
        assert first["record_counts"]["total"] == sum(
            number for name, number in counts(first).items() if name != "total"
        )


class TestPatch:
    def test_what_depends_on_the_change_is_computed_anew_and_nothing_else(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, [RED]))
        app.job(app.http.patch(app.key(name, "1"), json={"colour": "green"}))
        assert app.rows(name) == [{**STORED, "colour": "green", "code": "GG"}]
        app.job(app.http.patch(app.key(name, "1"), json={"note": "sun"}))
        assert app.rows(name) == [{**STORED, "colour": "green", "code": "GG", "note": "sun"}]
        # A filter says what is taken in, not what may become of it.
        app.job(app.http.patch(app.key(name, "1"), json={"colour": "grey"}))
        assert app.rows(name) == [{**STORED, "colour": "grey", "code": None, "note": "sun"}]

    def test_computed_fields_and_inputs_that_are_not_stored_are_refused(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, [RED]))
        answer = app.http.patch(app.key(name, "1"), json={"code": "X"})
        assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "computed_field")
        answer = app.http.patch(app.key(name, "1"), json={"size_name": "large"})
        assert (answer.status_code, answer.json()["code"]) == (409, "input_not_stored")
        assert "size_name" in answer.json()["detail"]
        assert app.rows(name) == [STORED]

    def test_a_change_whose_computed_field_does_not_fit_fails_its_job(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, [RED]))
        job = app.job(app.http.patch(app.key(name, "1"), json={"colour": "blue"}))
        assert (job["state"], job["error"]["code"], job["error"]["field"]) == ("failed", "record_unfit", "code")
        assert app.rows(name) == [STORED]

    def test_a_field_that_is_mapped_in_place_is_mapped_again_with_all_that_follows(self, app: InProcess) -> None:
        steps = [
            {"op": "map", "column": "colour", "values": {"rouge": "red"}, "otherwise": "keep"},
            {"op": "map", "column": "colour", "as": "code", "values": {"red": "R"}},
        ]
        fields = [field for field in BODY["fields"] if field["name"] in ("n", "colour", "code")]
        name = app.dataset({"fields": fields, "key": ["n"], "pipeline": steps, "name": "x"})
        app.job(app.post(name, [{"n": 1, "colour": "blue"}]))
        app.job(app.http.patch(app.key(name, "1"), json={"colour": "rouge"}))
        assert app.rows(name) == [{"n": 1, "colour": "red", "code": "R"}]


class TestContract:
    def test_it_is_checked_at_creation_and_shown(self, app: InProcess) -> None:
        answer = app.http.post("/api/v1/datasets", json={**BODY, "pipeline": [{"op": "mop"}]})
        assert [(e["pointer"], e["code"]) for e in answer.json()["errors"]] == [("/pipeline/0/op", "unknown_step")]
        name = app.dataset(BODY)
        app.work()
        shown = app.http.get(f"/api/v1/datasets/{name}").json()["contract"]
        assert shown["pipeline"] == BODY["pipeline"]
        for change in ({"pipeline": []}, {"input": ["n"]}, {"pipeline": [1]}, {"pipeline": None}, {"input": [{}]}):
            answer = app.http.patch(f"/api/v1/datasets/{name}", json=change)
            assert answer.status_code == 422, change

    def test_a_field_that_is_added_is_sent_by_clients(self, app: InProcess) -> None:
        name = app.dataset(BODY)
        app.job(app.post(name, [RED]))
        url = f"/api/v1/datasets/{name}"
        for field, code in (
            ({"name": "size_name", "type": "text"}, "duplicate"),
            ({"name": "made", "type": "text", "computed": True}, "not_filled"),
        ):
            answer = app.http.patch(url, json={"add_fields": [field]})
            assert [e["code"] for e in answer.json()["errors"]] == [code]
        waiting = app.post(name, [{**RED, "n": 2}])
        app.job(app.http.patch(url, json={"add_fields": [{"name": "price", "type": "decimal"}]}))
        assert app.job(waiting)["state"] == "succeeded"
        app.job(app.post(name, [{**RED, "n": 3, "price": "1.50"}]))
        assert app.rows(name) == [
            {**STORED, "n": n, "price": price} for n, price in ((1, None), (2, None), (3, "1.50"))
        ]


DOUBLED: Job = {"name": "x", "fields": [{"name": "n", "type": "integer", "required": True}], "pipeline": [DOUBLE]}


class TestSeveralRowsOfOneRecord:
    """With a step that only tests have: it makes two rows of each."""

    @pytest.fixture
    def doubling(self, database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[InProcess]:
        monkeypatch.setattr("gristmill.bootstrap.shared.build_steps", lambda *_: STEPS)
        found = InProcess(database_url, jobs_chunk_records=2)
        with found.http:
            yield found
        found.gristmill.database.close()

    def numbers(self, app: InProcess, name: str) -> list[tuple[int, int]]:
        with app.gristmill.database.autocommit() as connection:
            found = connection.exec_driver_sql(f'SELECT n, _ord FROM data."{name}" ORDER BY _ord')
            return [(row[0], row[1]) for row in found]

    def test_without_a_key_each_is_a_row_numbered_within_its_record(self, doubling: InProcess) -> None:
        name = doubling.dataset(DOUBLED)
        job = doubling.job(doubling.post(name, [{"n": n} for n in range(5)]))
        assert (job["chunks"]["total"], counts(job)) == (3, {"total": 5, "succeeded": 5})
        assert job["result"] == {"rows": 10}
        assert self.numbers(doubling, name) == [(n, n * 2**20 + place) for n in range(5) for place in (0, 1)]
