"""If-Match and ETag of records: a write meant for another version of its record is refused, at once or by the job."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.test_bundles import Mill
from tests.integration.test_bundles import gristmill as gristmill
from tests.integration.test_write_rest import ONE
from tests.support.in_process import InProcess, Job


@pytest.fixture
def thing(app: InProcess) -> str:
    """A dataset with the record a: v is 1."""
    name = app.dataset(ONE)
    assert app.job(app.post(name, [{"k": "a", "v": 1}]))["state"] == "succeeded"
    return name


def tag_of(app: InProcess, name: str, key: str = "a") -> str:
    answer = app.http.get(app.key(name, key))
    assert answer.status_code == 200, answer.text
    tag: str = answer.headers["etag"]
    return tag


def patch(app: InProcess, name: str, v: int, tag: str | None, **headers: str) -> Any:
    given = headers if tag is None else {"if-match": tag, **headers}
    return app.http.patch(app.key(name, "a"), json={"v": v}, headers=given)


def refused(answer: Any) -> Job:
    assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed"), answer.text
    found: Job = answer.json()
    return found


class TestTag:
    def test_it_is_that_of_the_last_write_and_strong(self, app: InProcess, thing: str) -> None:
        first = tag_of(app, thing)
        assert first.startswith('"')
        assert tag_of(app, thing) == first
        job = app.job(patch(app, thing, 2, None))
        assert tag_of(app, thing) == job["result"]["etag"] != first

    def test_every_kind_of_write_gives_another_and_what_is_made_anew_too(self, app: InProcess, thing: str) -> None:
        seen = [tag_of(app, thing)]
        app.job(app.post(thing, [{"k": "a", "v": 1}]))
        seen.append(tag_of(app, thing))
        app.job(patch(app, thing, 1, None))
        seen.append(tag_of(app, thing))
        app.job(app.http.delete(app.key(thing, "a")))
        app.job(app.post(thing, [{"k": "a", "v": 1}]))
        seen.append(tag_of(app, thing))
        assert len(set(seen)) == 4

    def test_records_of_one_batch_have_different_ones(self, app: InProcess, thing: str) -> None:
        app.job(app.post(thing, [{"k": k, "v": 1} for k in "abc"]))
        assert len({tag_of(app, thing, k) for k in "abc"}) == 3

    def test_a_field_that_is_added_changes_what_is_read_but_not_what_may_be_written(
        self, app: InProcess, thing: str
    ) -> None:
        """The record has another member, so a cache must not answer; but no write of anybody would be lost."""
        before = tag_of(app, thing)
        app.job(app.http.patch(f"/api/v1/datasets/{thing}", json={"add_fields": [{"name": "w", "type": "text"}]}))
        assert app.http.get(app.key(thing, "a"), headers={"if-none-match": before}).json()["w"] is None
        assert app.job(patch(app, thing, 2, before))["state"] == "succeeded"


class TestAtSubmit:
    def test_the_tag_just_read_is_taken_and_an_older_one_refused_with_the_newer(
        self, app: InProcess, thing: str
    ) -> None:
        old = tag_of(app, thing)
        assert app.job(patch(app, thing, 2, old))["state"] == "succeeded"
        problem = refused(patch(app, thing, 3, old))
        assert problem["etag"] == tag_of(app, thing)
        assert app.rows(thing) == [{"k": "a", "v": 2}]
        assert app.work() == 0, "nothing was queued"

    def test_delete_is_refused_alike(self, app: InProcess, thing: str) -> None:
        old = tag_of(app, thing)
        app.job(patch(app, thing, 2, old))
        refused(app.http.delete(app.key(thing, "a"), headers={"if-match": old}))
        job = app.job(app.http.delete(app.key(thing, "a"), headers={"if-match": tag_of(app, thing)}))
        assert (job["state"], job["result"]) == ("succeeded", {"deleted": 1})
        assert app.rows(thing) == []

    def test_one_of_several_tags_is_enough_and_a_star_is_any(self, app: InProcess, thing: str) -> None:
        assert app.job(patch(app, thing, 2, f'"x", {tag_of(app, thing)},"1.1.1"'))["state"] == "succeeded"
        assert app.job(patch(app, thing, 3, "*"))["state"] == "succeeded"
        assert app.rows(thing) == [{"k": "a", "v": 3}]

    @pytest.mark.parametrize("tag", ["W/{}", '"x"', '""', '"1"', '"9.9.9"', '"99999999999999999999.0.1"'])
    def test_weak_and_foreign_tags_match_nothing(self, app: InProcess, thing: str, tag: str) -> None:
        refused(patch(app, thing, 2, tag.format(tag_of(app, thing))))

    @pytest.mark.parametrize("tag", ["1.0.1", "", '"1.0.1', '"a" "b"', "*, *", "'1.0.1'", "W/*"])
    def test_what_is_no_tag_is_refused_as_such(self, app: InProcess, thing: str, tag: str) -> None:
        answer = patch(app, thing, 2, tag)
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["code"], error["pointer"]) == (422, "bad_header", "/header/If-Match")

    @pytest.mark.parametrize("tag", ["*", '"1.0.1"'])
    def test_a_record_that_is_not_there_is_unknown_whatever_it_should_match(
        self, app: InProcess, thing: str, tag: str
    ) -> None:
        answer = app.http.patch(app.key(thing, "none"), json={"v": 1}, headers={"if-match": tag})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_record")

    def test_a_repeated_request_is_answered_with_its_job_though_the_record_has_changed(
        self, app: InProcess, thing: str
    ) -> None:
        """The first answer was lost: sent again under its key the write is neither refused nor done twice."""
        old, key = tag_of(app, thing), {"idempotency-key": f"again-{thing}"}
        job = app.job(patch(app, thing, 2, old, **key))
        assert patch(app, thing, 2, old, **key).json() == job
        other = patch(app, thing, 2, tag_of(app, thing), **key)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


class TestInTheWorker:
    def test_a_job_before_it_decides_and_the_job_fails_with_412(self, app: InProcess, thing: str) -> None:
        old = tag_of(app, thing)
        first, second = patch(app, thing, 2, old), patch(app, thing, 3, old)
        assert (first.status_code, second.status_code) == (202, 202), "while a job is queued nobody can know"
        assert app.job(first)["state"] == "succeeded"
        job = app.job(second)
        assert (job["state"], job["error"]["status"], job["error"]["code"]) == ("failed", 412, "precondition_failed")
        assert job["error"]["etag"] == tag_of(app, thing)
        assert app.rows(thing) == [{"k": "a", "v": 2}]

    def test_a_plain_upsert_before_it_counts_as_well(self, app: InProcess, thing: str) -> None:
        old = tag_of(app, thing)
        upsert, later = app.post(thing, [{"k": "a", "v": 7}]), patch(app, thing, 3, old)
        assert app.job(upsert)["state"] == "succeeded"
        assert app.job(later)["error"]["code"] == "precondition_failed"
        assert app.rows(thing) == [{"k": "a", "v": 7}]

    def test_one_deleted_before_it_is_unknown(self, app: InProcess, thing: str) -> None:
        old = tag_of(app, thing)
        gone, later = app.http.delete(app.key(thing, "a")), patch(app, thing, 3, old)
        app.job(gone)
        assert app.job(later)["error"]["code"] == "unknown_record"

    def test_a_deletion_by_age_beside_the_order_is_seen(self, app: InProcess, thing: str) -> None:
        """Retention deletes beside all jobs: the row that the job compares is locked, or gone."""
        old = tag_of(app, thing)
        answer = patch(app, thing, 3, old)
        with app.gristmill.database.transaction() as connection:
            connection.exec_driver_sql(f"DELETE FROM data.{thing}")
        assert app.job(answer)["error"]["code"] == "unknown_record"


class TestAlgebra:
    @settings(max_examples=15)
    @given(steps=st.lists(st.tuples(st.sampled_from(["patch", "upsert", "delete"]), st.integers(0, 4)), max_size=6))
    def test_of_all_tags_ever_read_the_newest_one_alone_may_write(
        self, app: InProcess, thing: str, steps: list[tuple[str, int]]
    ) -> None:
        read = [tag_of(app, thing)]
        for what, place in steps:
            older = read[:-1][-place:] if place else []
            for tag in older:
                refused(patch(app, thing, 9, tag))
            if what == "patch":
                job = app.job(patch(app, thing, place, read[-1]))
                assert job["result"] == {"etag": tag_of(app, thing)}
            elif what == "upsert":
                app.job(app.post(thing, [{"k": "a", "v": place}]))
            else:
                job = app.job(app.http.delete(app.key(thing, "a"), headers={"if-match": read[-1]}))
                assert job["state"] == "succeeded"
                app.job(app.post(thing, [{"k": "a", "v": place}]))
            assert app.rows(thing) == [{"k": "a", "v": place}]
            read.append(tag_of(app, thing))
        assert len(set(read)) == len(read)

    @pytest.mark.parametrize("writers", [2, 8])
    def test_no_increment_of_many_at_once_is_lost(self, app: InProcess, thing: str, writers: int) -> None:
        """All read the same record and send what they make of it: in each round one is done, the others read again."""
        waiting, rounds = set(range(writers)), 0
        while waiting:
            rounds += 1
            answer = app.http.get(app.key(thing, "a"))
            value, tag = answer.json()["v"], answer.headers["etag"]
            sent = {one: patch(app, thing, value + 1, tag) for one in sorted(waiting)}
            done = {one for one, found in sent.items() if app.job(found)["state"] == "succeeded"}
            assert len(done) == 1, "of those who read the same one is done"
            waiting -= done
        assert (app.rows(thing), rounds) == ([{"k": "a", "v": 1 + writers}], writers)


class TestInABundle:
    @pytest.fixture
    def mill(self, gristmill: Any) -> Iterator[Mill]:
        found = Mill(gristmill)
        yield found
        for handler in found.handlers:
            vars(handler).pop("prepare", None)
            vars(handler).pop("apply_all", None)

    def submit_patch(self, mill: Mill, key: str, v: int, tag: str) -> Any:
        write = mill.services.record_changes.patch(mill.name, key, f'{{"v": {v}}}'.encode(), [tag])
        return mill.write(write)

    def test_a_refused_one_ends_alone_and_those_behind_it_go_on(self, mill: Mill) -> None:
        """Each has a savepoint: what it is compared with is what those before it in the bundle have written."""
        mill.submit(("a", 1), ("b", 1))
        mill.run(mill.sent())
        tags = {key: mill.services.record_reads.get(mill.name, key)[1].value for key in "ab"}
        jobs = [
            self.submit_patch(mill, "a", 2, tags["a"]),
            self.submit_patch(mill, "a", 3, tags["a"]),
            self.submit_patch(mill, "b", 4, tags["b"]),
            mill.write(mill.services.record_changes.delete(mill.name, "a", [tags["a"]])),
            mill.patch("a", 5),
        ]
        mill.run(mill.sent())
        bodies = [mill.job(job_id) for job_id in jobs]
        assert [body["state"] for body in bodies] == ["succeeded", "failed", "succeeded", "failed", "succeeded"]
        assert {bodies[place]["error"]["status"] for place in (1, 3)} == {412}
        assert (
            len({mill.chunk(job_id)["xact"] for job_id, body in zip(jobs, bodies, strict=True) if body["result"]}) == 1
        )
        assert mill.table() == {"a": 5, "b": 4}
        assert bodies[4]["result"] == {"etag": str(mill.services.record_reads.get(mill.name, "a")[1])}

    def test_of_all_that_expect_the_same_the_first_is_done(self, mill: Mill) -> None:
        mill.submit(("a", 0))
        mill.run(mill.sent())
        tag = mill.services.record_reads.get(mill.name, "a")[1].value
        jobs = [self.submit_patch(mill, "a", v, tag) for v in range(1, 10)]
        mill.run(mill.sent())
        assert [mill.job(job_id)["state"] for job_id in jobs] == ["succeeded", *["failed"] * 8]
        assert mill.table() == {"a": 1}


class TestReads:
    def test_a_record_that_is_the_same_is_not_sent_again(self, app: InProcess, thing: str) -> None:
        tag = tag_of(app, thing)
        for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            answer = app.http.get(app.key(thing, "a"), headers={"if-none-match": known})
            assert (answer.status_code, answer.content) == (304, b""), known
        app.job(patch(app, thing, 2, None))
        assert app.http.get(app.key(thing, "a"), headers={"if-none-match": tag}).json()["v"] == 2

    def test_an_unknown_one_is_unknown(self, app: InProcess, thing: str) -> None:
        assert app.http.get(app.key(thing, "none"), headers={"if-none-match": "*"}).status_code == 404


class TestElsewhere:
    """A condition that a call cannot keep is refused, on both kinds of routes."""

    @pytest.mark.parametrize(
        ("method", "path"),
        [
            ("POST", "/api/v1/datasets/{}/records"),
            ("POST", "/api/v1/datasets/{}/records/delete"),
            ("POST", "/api/v1/datasets/{}/search"),
            ("POST", "/api/v1/datasets/{}/validate"),
            ("POST", "/api/v1/datasets/{}/index/rebuild"),
            ("PATCH", "/api/v1/datasets/{}/index"),
            ("POST", "/api/v1/datasets"),
            ("POST", "/api/v1/jobs/0/cancel"),
            ("POST", "/api/v1/jobs/0/retry"),
            ("GET", "/api/v1/datasets/{}/records"),
            ("GET", "/api/v1/jobs/0"),
        ],
    )
    @pytest.mark.parametrize("header", ["If-Match", "If-Unmodified-Since"])
    def test_it_is_refused_and_not_ignored(
        self, app: InProcess, thing: str, method: str, path: str, header: str
    ) -> None:
        answer = app.http.request(method, path.format(thing), json=[{"k": "b"}], headers={header: "*"})
        (error,) = answer.json()["errors"]
        assert (answer.status_code, error["code"]) == (422, "unsupported_header")
        assert error["pointer"] == f"/header/{header}"
        assert app.rows(thing) == [{"k": "a", "v": 1}]

    def test_writes_cannot_be_made_for_what_is_not_there(self, app: InProcess, thing: str) -> None:
        for method in ("PATCH", "DELETE"):
            answer = app.http.request(method, app.key(thing, "a"), json={"v": 2}, headers={"If-None-Match": "*"})
            (error,) = answer.json()["errors"]
            assert (answer.status_code, error["code"]) == (422, "unsupported_header")
            assert error["reason"].endswith("it takes if-match")

    def test_reads_that_have_no_tag_are_answered_in_full(self, app: InProcess, thing: str) -> None:
        """A cache may ask so of anything, and an answer in full is always right."""
        headers = {"If-None-Match": "*", "If-Modified-Since": "Thu, 01 Jan 2026 00:00:00 GMT"}
        assert app.http.get(f"/api/v1/datasets/{thing}/records", headers=headers).status_code == 200
