"""Records beside their parents at submission: what is refused at once, and what only the job may decide."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support.hierarchy import AREA, NAME, Geography, area, field_of
from tests.support.in_process import InProcess

from gristmill.jobs.maintenance.schedules import promote_scheduled

ID = {"name": "id", "type": "integer", "required": True}


@pytest.fixture
def world(app: InProcess) -> Geography:
    found = Geography(app)
    found.put(found.continents, area("Europe", 100, 1000))
    return found


@pytest.fixture
def free(app: InProcess) -> Geography:
    """The same without limits."""
    found = Geography(app, limits=())
    found.put(found.continents, area("Europe", 100, 1000))
    return found


def test_under_quarantine_a_parent_that_is_missing_keeps_its_record_back_and_no_other(free: Geography) -> None:
    records = [area("A", 1, continent="Europe"), area("B", 1, continent="Mu")]
    job = free.put(free.countries, *records, params={"on_error": "quarantine"})
    assert job["state"] == "succeeded", job
    assert (job["record_counts"]["succeeded"], job["record_counts"]["rejected"]) == (1, 1)
    assert free.names(free.countries) == ["A"]


def test_under_quarantine_a_record_that_is_skipped_fails_no_other(world: Geography) -> None:
    world.put(world.countries, area("A", 1, continent="Europe"))
    records = [area("A", 1, continent="Mu"), area("A", 999, continent="Europe"), area("B", 1, continent="Europe")]
    job = world.put(world.countries, *records, params={"on_error": "quarantine", "on_conflict": "skip"})
    assert job["state"] == "succeeded", job
    counts = job["record_counts"]
    assert (counts["succeeded"], counts["superseded"], counts["rejected"]) == (1, 1, 1)
    assert world.names(world.countries) == ["A", "B"]


def test_of_several_parents_that_are_missing_the_job_names_the_same(free: Geography) -> None:
    records = [area("A", 1, continent="Zealandia"), area("B", 1, continent="Atlantis")]
    refused = free.post(free.countries, *records)
    assert refused.status_code == 409, refused.text
    free.post(free.continents, area("Europe", 100, 1000))  # While it is unfinished nothing is refused at once.
    job = free.put(free.countries, *records)
    assert job["error"]["detail"] == refused.json()["detail"]


def test_a_scheduled_write_is_judged_when_it_is_due(free: Geography, world: Geography) -> None:
    later = {"run_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()}
    for one in (free, world):
        assert one.post(one.countries, area("A", 1, continent="Mu"), params=later).status_code == 202
    assert world.post(world.countries, area("A", 101, continent="Europe"), params=later).status_code == 202


def test_many_parents_whose_creation_is_queued_count_as_there(app: InProcess) -> None:
    parents = app.dataset({"fields": [ID], "key": ["id"]})
    app.work()
    up = {"name": "up", "type": "integer"}
    children = app.dataset({"fields": [ID, up], "key": ["id"], "parents": [{"field": "up", "dataset": parents}]})
    app.work()
    app.post(parents, [{"id": number} for number in range(600)])
    app.post(parents, [{"id": number} for number in range(600, 1200)])
    # More keys than are confirmed, in a body that could share its commit.
    job = app.job(app.post(children, [{"id": number, "up": number} for number in range(1200)]))
    assert job["state"] == "succeeded", job


@pytest.mark.parametrize("bound", [10**400, -(10**400)])
def test_a_bound_beyond_every_number_is_refused(app: InProcess, bound: int) -> None:
    above = app.dataset({"fields": [NAME], "key": ["name"]})
    app.work()
    parent = {"field": "up", "dataset": above, "limits": [{"sum": "area", "at_most": bound}]}
    body = {"name": f"of_{above}", "fields": [NAME, AREA, field_of("up")], "key": ["name"], "parents": [parent]}
    answer = app.http.post("/api/v1/datasets", json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["pointer"] == "/parents/0/limits/0/at_most"


def test_a_parents_dataset_that_was_created_anew_is_read_as_it_is_now(app: InProcess) -> None:
    def done(answer: Any) -> None:
        job = app.job(answer)
        assert job["state"] == "succeeded", job

    above = app.dataset({"fields": [NAME], "key": ["name"]})
    parents = [{"field": "up", "dataset": above}]
    app.work()
    name = app.dataset({"fields": [NAME, field_of("up")], "key": ["name"], "parents": parents})
    done(app.post(above, [{"name": "P"}]))
    done(app.post(name, [{"name": "C", "up": "P"}]))
    done(app.http.delete(app.key(name, "C")))
    done(app.http.patch(f"/api/v1/datasets/{name}", json={"parents": []}))
    done(app.http.delete(f"/api/v1/datasets/{above}", params={"confirm": above}))
    other = {"name": above, "fields": [{**NAME, "name": "title"}], "key": ["title"]}
    done(app.http.post("/api/v1/datasets", json=other))
    done(app.http.patch(f"/api/v1/datasets/{name}", json={"parents": parents}))
    done(app.post(above, [{"title": "P"}]))
    done(app.post(name, [{"name": "C", "up": "P"}]))


class TestScheduledBeforeParents:
    """Jobs that were scheduled before parents were declared are not in the scopes that these need."""

    @pytest.fixture
    def above(self, app: InProcess) -> str:
        found = app.dataset({"fields": [NAME, AREA], "key": ["name"]})
        app.work()
        app.post(found, [{"name": "P", "area": 5}])
        app.work()
        return found

    @pytest.mark.parametrize("known", [False, True])
    @pytest.mark.parametrize("mode", [{}, {"mode": "merge"}])
    def test_they_are_not_written_beside_their_order(self, app: InProcess, above: str, known: bool, mode: Any) -> None:
        plain = {"field": "up", "dataset": above}
        body = {"fields": [NAME, AREA, field_of("up")], "key": ["name"], "parents": [plain] if known else []}
        name = app.dataset(body)
        app.work()
        later = {"run_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat(), **mode}
        waits = app.post(name, [{"name": "A", "area": 5, "up": "P"}], params=later).json()["id"]
        parents = [{**plain, "limits": [{"sum": "area", "at_most": "area"}]}]
        changed = app.job(app.http.patch(f"/api/v1/datasets/{name}", json={"parents": parents}))
        assert changed["state"] == "succeeded", changed
        job = self._due(app, waits)
        assert (job["state"], job["error"]["code"]) == ("failed", "hierarchy_changed"), job
        assert app.rows(name) == []

    @pytest.mark.parametrize("mode", [{}, {"on_error": "quarantine"}, {"on_conflict": "skip"}, {"mode": "merge"}])
    def test_records_without_a_younger_bound_or_parent_are_written(self, app: InProcess, above: str, mode: Any) -> None:
        parent = {"field": "up", "dataset": above, "limits": [{"sum": "area", "at_most": "area"}]}
        name = app.dataset({"fields": [NAME, AREA, field_of("up")], "key": ["name"], "parents": [parent]})
        app.work()
        options = {"run_at": "2999-01-01T00:00:00Z", **mode}
        child = app.post(name, [{"name": "A", "area": 5, "up": "P"}], params=options).json()["id"]
        bound = app.post(above, [{"name": "P", "area": 7}], params=options).json()["id"]
        added = {"add_fields": [{"name": "cap", "type": "integer"}]}
        assert app.job(app.http.patch(f"/api/v1/datasets/{above}", json=added))["state"] == "succeeded"
        limits = [*parent["limits"], {"max": "size", "at_most": "cap"}]
        younger = [{"name": "other", "type": "text", "max_length": 100, "normalize": "NFC"}]
        younger += [{"name": "size", "type": "integer"}]
        more = {"add_fields": younger, "parents": [{**parent, "limits": limits}, {"field": "other", "dataset": above}]}
        changed = app.job(app.http.patch(f"/api/v1/datasets/{name}", json=more))
        assert changed["state"] == "succeeded", changed
        for job_id in (bound, child):
            job = self._due(app, job_id)
            assert job["state"] == "succeeded", job
        assert app.rows(name) == [{"name": "A", "area": 5, "up": "P", "other": None, "size": None}]

    def _due(self, app: InProcess, job_id: str) -> Any:
        with app.gristmill.database.transaction() as connection:
            for table, column in (("jobs", "id"), ("chunks", "job_id")):
                query = f"UPDATE gristmill.{table} SET run_at = now() WHERE {column} = %(id)s"
                connection.exec_driver_sql(query, {"id": job_id})
        promote_scheduled(app.gristmill.database)
        app.work()
        return app.http.get(f"/api/v1/jobs/{job_id}").json()


@pytest.mark.parametrize("options", [{}, {"on_error": "quarantine"}])
@pytest.mark.parametrize(("most", "least"), [(1e16, 1e-16), (1e300, 1e-300)])
def test_sums_of_any_number_of_digits_are_exact(app: InProcess, most: float, least: float, options: Any) -> None:
    above = app.dataset({"fields": [NAME, {"name": "cap", "type": "float"}], "key": ["name"]})
    app.work()
    parent = {"field": "up", "dataset": above, "limits": [{"sum": "size", "at_most": "cap"}]}
    fields = [NAME, {"name": "size", "type": "float", "minimum": 0}, field_of("up")]
    name = app.dataset({"fields": fields, "key": ["name"], "parents": [parent]})
    app.work()
    app.post(above, [{"name": "P", "cap": most}])
    assert app.job(app.post(name, [{"name": "A", "size": most, "up": "P"}], params=options))["state"] == "succeeded"
    second = [{"name": "B", "size": least, "up": "P"}]
    if not options:
        assert app.post(name, second).status_code == 409
    app.post(above, [{"name": "Q"}])  # While it is unfinished nothing is refused at once.
    job = app.job(app.post(name, second, params=options))
    assert (job["state"], job["record_counts"]["succeeded"]) == ("succeeded" if options else "failed", 0), job
    assert [one["name"] for one in app.rows(name)] == ["A"]
