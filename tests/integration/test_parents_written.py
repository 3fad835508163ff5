"""Records beside their parents: those that are there, those that are not, and limits that hold, at once and in jobs."""

import json
from typing import Any

import pytest
from tests.support.hierarchy import AREA, NAME, Geography, area, field_of
from tests.support.in_process import InProcess

from gristmill.jobs.repository.dispatch import mark_sent
from gristmill.records.apply.tasks import IngestHandler


@pytest.fixture
def world(app: InProcess) -> Geography:
    found = Geography(app)
    found.put(found.continents, area("Europe", 100, 1000), area("Asia", 50, 500))
    found.put(found.countries, area("France", 60, 600, continent="Europe"), area("Spain", 40, 400, continent="Europe"))
    return found


@pytest.fixture
def free(app: InProcess) -> Geography:
    """The same without limits."""
    found = Geography(app, limits=())
    found.put(found.continents, area("Europe", 100, 1000), area("Asia", 50, 500))
    return found


def failed(job: Any) -> Any:
    assert job["state"] == "failed", job
    return job["error"]


class TestParents:
    def test_a_parent_that_is_not_there_is_refused_at_once(self, free: Geography) -> None:
        answer = free.post(free.countries, area("A", 1, continent="Europe"), area("B", 1, continent="Mu"))
        assert answer.status_code == 409, answer.text
        problem = answer.json()
        assert problem["code"] == "parent_missing"
        assert problem["parent"] == {"dataset": free.continents, "key": "Mu"}
        assert problem["errors"][0]["pointer"] == "/1/continent"
        assert free.names(free.countries) == []

    def test_a_parent_that_is_queued_counts_as_there(self, free: Geography) -> None:
        first = free.post(free.continents, area("Africa", 10))
        second = free.post(free.countries, area("Kenya", 1, continent="Africa"))
        assert (first.status_code, second.status_code) == (202, 202), second.text
        assert free.app.job(second)["state"] == "succeeded"
        assert free.names(free.countries) == ["Kenya"]

    def test_a_parent_that_comes_later_does_not_count(self, free: Geography) -> None:
        free.post(free.continents, area("Africa", 10))
        early = free.post(free.countries, area("Fiji", 1, continent="Oceania"))
        late = free.post(free.continents, area("Oceania", 10))
        assert (early.status_code, late.status_code) == (202, 202), early.text
        error = failed(free.app.job(early))
        assert (error["code"], error["parent"]["key"]) == ("parent_missing", "Oceania")
        assert free.names(free.continents) == ["Africa", "Asia", "Europe", "Oceania"]

    def test_children_whose_parents_are_there_run_beside_each_other(self, free: Geography) -> None:
        for name in ("A", "B", "C"):
            assert free.post(free.countries, area(name, 1, continent="Europe")).status_code == 202
        with free.app.gristmill.database.autocommit() as connection:
            rows = connection.exec_driver_sql(
                "SELECT exclusive FROM gristmill.further_scopes WHERE scope = %s", (f"dataset:{free.continents}",)
            ).all()
        # The other is of the job that made the dataset.
        assert {row[0] for row in rows} == {False}
        assert free.app.work() == 3

    def test_a_null_is_no_parent(self, app: InProcess, free: Geography) -> None:
        free.create("none_" + free.cities, [NAME, AREA, {**field_of("country"), "required": False}], "country")
        assert free.put("none_" + free.cities, {"name": "Atlantis", "area": 5})["state"] == "succeeded"


class TestLimits:
    def test_what_is_beyond_the_limit_is_refused_at_once_with_its_figures(self, world: Geography) -> None:
        answer = world.post(world.countries, area("Italy", 30, continent="Europe"))
        assert answer.status_code == 409, answer.text
        problem = answer.json()
        assert problem["code"] == "limit_exceeded"
        figures = {name: problem[name] for name in ("limit", "value", "used", "asked", "children")}
        assert figures == {
            "limit": {"sum": "area", "at_most": "area"},
            "value": 100,
            "used": 100,
            "asked": 30,
            "children": world.countries,
        }
        assert problem["errors"][0]["pointer"] == "/0/area"

    def test_the_job_says_the_same(self, world: Geography) -> None:
        at_once = world.post(world.countries, area("Italy", 30, continent="Europe")).json()
        # Something unfinished: the job has to find out.
        world.post(world.countries, area("Japan", 1, continent="Asia"))
        queued = world.post(world.countries, area("Italy", 30, continent="Europe"))
        error = failed(world.app.job(queued))
        for name in ("code", "detail", "limit", "parent", "value", "used", "asked", "errors"):
            assert error[name] == at_once[name], name

    def test_a_record_that_is_replaced_does_not_count(self, world: Geography) -> None:
        assert world.put(world.countries, area("Spain", 39, 400, continent="Europe"))["state"] == "succeeded"
        assert world.put(world.countries, area("Spain", 40, 400, continent="Europe"))["state"] == "succeeded"
        answer = world.post(world.countries, area("Spain", 41, 400, continent="Europe"))
        assert (answer.status_code, answer.json()["used"], answer.json()["asked"]) == (409, 60, 41)

    def test_a_parent_is_not_lowered_below_its_children(self, world: Geography) -> None:
        answer = world.post(world.continents, area("Europe", 99, 1000))
        assert answer.status_code == 409, answer.text
        assert {"value": 99, "used": 100}.items() <= answer.json().items()
        world.post(world.continents, area("Africa", 1))
        assert failed(world.app.job(world.post(world.continents, area("Europe", 99, 1000))))["code"] == "limit_exceeded"
        assert world.put(world.continents, area("Europe", 101, 1000))["state"] == "succeeded"

    def test_of_many_queued_creates_as_many_succeed_as_fit(self, world: Geography) -> None:
        answers = [world.post(world.cities, area(f"C{n:02}", 7, country="France")) for n in range(20)]
        jobs = [world.app.job(answer) for answer in answers if answer.status_code == 202]
        states = [job["state"] for job in jobs]
        assert states.count("succeeded") == 8
        assert all(failed(job)["code"] == "limit_exceeded" for job in jobs if job["state"] != "succeeded")
        assert len(world.names(world.cities)) == 8

    def test_merge_is_checked_too(self, world: Geography) -> None:
        options = {"params": {"mode": "merge"}}
        job = world.app.job(world.post(world.countries, {"name": "Spain", "area": 41}, **options))
        assert failed(job)["code"] == "limit_exceeded"
        answer = world.post(world.countries, {"name": "Spain", "continent": "Mu"}, **options)
        assert (answer.status_code, answer.json()["code"]) == (409, "parent_missing")
        world.post(world.continents, area("Africa", 1))
        job = world.app.job(world.post(world.countries, {"name": "Spain", "continent": "Mu"}, **options))
        assert failed(job)["code"] == "parent_missing"


class TestQuarantine:
    def rejects(self, world: Geography, job: Any) -> list[Any]:
        answer = world.app.http.get(f"/api/v1/jobs/{job['id']}/rejects")
        assert answer.status_code == 200, answer.text
        return [
            (one["record"], one["raw"], [error["code"] for error in one["errors"]]) for one in answer.json()["rejects"]
        ]

    def test_those_that_fit_go_on_each_judged_after_those_before_it(self, world: Geography) -> None:
        records = [
            area("Lyon", 50, country="France"),
            area("Troy", 1, country="Ilion"),
            area("Paris", 20, country="France"),
            area("Nice", 10, country="France"),
            area("Lyon", 45, country="France"),
            area("Brest", 5, country="France"),
            area("Metz", 1, country="France"),
        ]
        job = world.put(world.cities, *records, params={"on_error": "quarantine"})
        assert job["state"] == "succeeded", job
        assert job["record_counts"] == {"total": 7, "succeeded": 3, "rejected": 3, "superseded": 1, "dropped": 0}
        assert [(place, codes) for place, _, codes in self.rejects(world, job)] == [
            (1, ["parent_missing"]),
            (2, ["limit_exceeded"]),
            (6, ["limit_exceeded"]),
        ]
        assert world.names(world.cities) == ["Brest", "Lyon", "Nice"]

    def test_parents_below_their_children_are_kept_back(self, world: Geography) -> None:
        records = [area("Europe", 99, 1000), area("Asia", 1, 1), area("Africa", 3)]
        job = world.put(world.continents, *records, params={"on_error": "quarantine"})
        assert (job["state"], job["record_counts"]["succeeded"]) == ("succeeded", 2), job
        assert [(place, codes) for place, _, codes in self.rejects(world, job)] == [(0, ["limit_exceeded"])]

    def test_what_was_kept_back_goes_in_when_there_is_room(self, world: Geography) -> None:
        job = world.put(world.cities, area("Lyon", 61, country="France"), params={"on_error": "quarantine"})
        assert job["record_counts"]["rejected"] == 1
        assert world.put(world.continents, area("Europe", 200, 1000))["state"] == "succeeded"
        assert world.put(world.countries, area("France", 100, 600, continent="Europe"))["state"] == "succeeded"
        raw = [one["raw"] for one in world.app.http.get(f"/api/v1/jobs/{job['id']}/rejects").json()["rejects"]]
        again = world.put(world.cities, *map(json.loads, raw), params={"retry_of": job["id"]})
        assert again["state"] == "succeeded", again
        assert world.names(world.cities) == ["Lyon"]


class TestBadInput:
    @pytest.mark.parametrize("value", [-1, 2**63, 1e300, "7", True, None])
    def test_an_area_that_is_none_is_refused_by_its_field(self, world: Geography, value: Any) -> None:
        answer = world.post(world.cities, {"name": "X", "area": value, "country": "France"})
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == "/0/area"

    def test_enormous_areas_are_added_up_exactly(self, world: Geography) -> None:
        records = [area(f"C{n}", 2**63 - 1, country="France") for n in range(3)]
        answer = world.post(world.cities, *records)
        assert (answer.status_code, answer.json()["asked"]) == (409, 3 * (2**63 - 1))

    def test_names_are_equal_in_every_form(self, world: Geography) -> None:
        assert world.put(world.continents, area("Océanie", 9))["state"] == "succeeded"
        assert world.put(world.countries, area("Niué", 4, continent="Oce\u0301anie"))["state"] == "succeeded"
        options = {"params": {"on_conflict": "fail"}}
        answer = world.post(world.countries, area("Niue\u0301", 1, continent="Océanie"), **options)
        assert (answer.status_code, answer.json()["code"]) == (409, "key_exists")

    def test_a_retry_after_the_parent_has_shrunk_is_refused(self, world: Geography) -> None:
        world.post(world.countries, area("Japan", 1, continent="Asia"))
        answer = world.post(world.cities, area("Lyon", 61, country="France"))
        job = world.app.job(answer)
        assert failed(job)["code"] == "limit_exceeded"
        assert world.put(world.countries, area("France", 50, 600, continent="Europe"))["state"] == "succeeded"
        again = world.app.http.post(f"/api/v1/jobs/{job['id']}/retry")
        assert (again.status_code, again.json()["code"]) == (409, "not_retryable"), again.text

    def test_a_retry_finds_the_room_that_there_is_by_then(self, world: Geography) -> None:
        world.post(world.countries, area("Japan", 1, continent="Asia"))
        job = world.app.job(world.post(world.countries, area("Italy", 30, continent="Europe")))
        assert failed(job)["code"] == "limit_exceeded"
        again = world.app.http.post(f"/api/v1/jobs/{job['id']}/retry")
        assert again.status_code in (200, 202), again.text
        assert failed(world.app.job(again))["code"] == "limit_exceeded"


class TestMeasures:
    """Each measure and type, null bounds and null children, at once and in the job."""

    @pytest.mark.parametrize(
        ("child", "parent", "limit", "bound", "fits", "breaks"),
        [
            ("integer", "integer", {"sum": "x", "at_most": "b"}, 10, [4, 6, None], [4, 7]),
            ("float", "float", {"sum": "x", "at_most": "b"}, 0.3, [0.1, 0.2], [0.1, 0.2, 1e-9]),
            ("decimal", "decimal", {"sum": "x", "at_most": "b"}, "1.10", ["0.55", "0.55"], ["0.55", "0.56"]),
            ("integer", "float", {"sum": "x", "at_most": "b"}, 10.5, [10], [11]),
            ("float", "integer", {"sum": "x", "at_most": 3}, 1, [1.5, 1.5], [1.5, 1.500001]),
            ("integer", "integer", {"count": True, "at_most": "b"}, 2, [None, None], [None, None, None]),
            ("integer", "integer", {"max": "x", "at_most": "b"}, 10, [10, 3, None], [11]),
            ("integer", "integer", {"min": "x", "at_least": "b"}, 10, [10, 30, None], [9]),
            (
                "timestamp",
                "timestamp",
                {"min": "x", "at_least": "b"},
                "2026-01-01T00:00:00Z",
                ["2026-01-01T01:00:00+01:00"],
                ["2025-12-31T23:59:59.999999Z"],
            ),
            ("date", "date", {"max": "x", "at_most": "b"}, "2026-01-01", ["2026-01-01"], ["2026-01-02"]),
            ("duration", "duration", {"max": "x", "at_most": "b"}, "PT1H", ["PT60M"], ["PT1H0.000001S"]),
            ("integer", "integer", {"sum": "x", "at_most": "b"}, None, [2**63 - 1, 2**63 - 1], []),
        ],
    )
    @pytest.mark.parametrize("queued", [False, True])
    def test_what_is_within_and_what_is_beyond(
        self, app: InProcess, child: str, parent: str, limit: Any, bound: Any, fits: Any, breaks: Any, queued: bool
    ) -> None:
        least = {"minimum": "0" if child == "decimal" else 0} if "sum" in limit else {}
        above = app.dataset({"fields": [NAME, {"name": "b", "type": parent}], "key": ["name"]})
        other = app.dataset({"fields": [NAME], "key": ["name"]})
        below = app.dataset(
            {
                "fields": [NAME, {"name": "x", "type": child, **least}, field_of("above")],
                "key": ["name"],
                "parents": [{"field": "above", "dataset": above, "limits": [limit]}],
            }
        )
        app.work()
        assert app.job(app.post(above, [{"name": "p", "b": bound}]))["state"] == "succeeded", other
        for values, expected in ((fits, "succeeded"), (breaks, "failed")):
            if not values:
                continue
            records = [{"name": f"c{n}", "x": value, "above": "p"} for n, value in enumerate(values)]
            if queued:
                # Something unfinished above: the job has to find out.
                assert app.post(above, [{"name": "q", "b": bound}]).status_code == 202
            answer = app.post(below, records)
            if expected == "failed" and not queued:
                assert (answer.status_code, answer.json()["code"]) == (409, "limit_exceeded"), answer.text
                continue
            job = app.job(answer)
            assert job["state"] == expected, job


class TestComputed:
    """A bound of the parent and a measure of the child that pipelines make."""

    def test_a_computed_bound_and_a_computed_measure(self, app: InProcess) -> None:
        def derived(name: str, source: str) -> Any:
            fields = [NAME, {"name": source, "type": "integer"}, {"name": name, "type": "integer", "computed": True}]
            return {"fields": fields, "key": ["name"], "pipeline": [{"op": "derive", "as": name, "value": source}]}

        above = derived("room", "sent")
        parent = app.dataset(above)
        below = derived("size", "given")
        below["fields"] = [*below["fields"][:2], {**below["fields"][2], "minimum": 0}, field_of("above")]
        limits = [{"sum": "size", "at_most": "room"}]
        child = app.dataset({**below, "parents": [{"field": "above", "dataset": parent, "limits": limits}]})
        app.work()
        assert app.job(app.post(parent, [{"name": "p", "sent": 10}]))["state"] == "succeeded"
        assert app.job(app.post(child, [{"name": "a", "given": 6, "above": "p"}]))["state"] == "succeeded"
        assert failed(app.job(app.post(child, [{"name": "b", "given": 5, "above": "p"}])))["asked"] == 5
        assert failed(app.job(app.post(child, [{"name": "b", "given": 5, "above": "q"}])))["code"] == "parent_missing"
        assert failed(app.job(app.post(parent, [{"name": "p", "sent": 5}])))["value"] == 5
        patched = app.http.patch(f"/api/v1/datasets/{parent}/records/p", json={"sent": 5})
        assert (patched.status_code, patched.json()["code"]) == (409, "limit_exceeded")
        # Made anew with other steps: what the children use has to fit, and what they use.
        half = {"pipeline": [{"op": "derive", "as": "room", "value": "sent // 2"}]}
        assert app.job(app.http.patch(f"/api/v1/datasets/{parent}", json=half))["state"] == "succeeded"
        job = self.recomputed(app, parent)
        assert failed(job)["code"] == "limit_exceeded"
        double = {"pipeline": [{"op": "derive", "as": "size", "value": "given * 2"}]}
        assert app.job(app.http.patch(f"/api/v1/datasets/{child}", json=double))["state"] == "succeeded"
        error = failed(self.recomputed(app, child))
        assert (error["code"], error["used"], error["asked"]) == ("limit_exceeded", 0, 12)
        assert app.http.get(f"/api/v1/datasets/{child}/records/a").json()["size"] == 6

    def recomputed(self, app: InProcess, name: str) -> Any:
        answer = app.http.post(f"/api/v1/datasets/{name}/recompute", json={})
        assert answer.status_code == 202, answer.text
        app.work(queue="long")
        return app.http.get(f"/api/v1/jobs/{answer.json()['id']}").json()


class TestRuns:
    """Creates that share a message: written with one call where that cannot be told from one after the other."""

    def run(
        self, world: Geography, monkeypatch: pytest.MonkeyPatch, areas: list[int], **more: Any
    ) -> tuple[list[Any], int]:
        """Run a create for each area in one message; return their jobs, and how many were written alone."""
        app, alone = world.app, []
        apply_all = IngestHandler.apply_all

        def counted(self: Any, connection: Any, group: Any) -> Any:
            alone.extend(task.job_id for task, _ in group)
            return apply_all(self, connection, group)

        monkeypatch.setattr(IngestHandler, "apply_all", counted)
        answers = [
            world.post(world.cities, area(more.get("name", f"C{n}"), value, country="France"))
            for n, value in enumerate(areas)
        ]
        with app.gristmill.database.transaction() as connection:
            messages = mark_sent(connection, "default", 16, most=16)
        assert len({message.run for message in messages}) == 1
        app.executor.run_all([(one.job_id, one.number, one.dispatch) for one in messages])
        jobs = [app.http.get(f"/api/v1/jobs/{answer.json()['id']}").json() for answer in answers]
        return jobs, len(alone)

    def test_all_that_fit_are_written_with_one_call(self, world: Geography, monkeypatch: pytest.MonkeyPatch) -> None:
        jobs, alone = self.run(world, monkeypatch, [20, 20, 20])
        assert ([job["state"] for job in jobs], alone) == (["succeeded"] * 3, 0)
        assert [job["record_counts"]["succeeded"] for job in jobs] == [1, 1, 1]
        assert world.names(world.cities) == ["C0", "C1", "C2"]

    def test_each_is_judged_by_itself_where_they_do_not_all_fit(
        self, world: Geography, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs, alone = self.run(world, monkeypatch, [20, 20, 30, 20, 1])
        assert [job["state"] for job in jobs] == ["succeeded", "succeeded", "failed", "succeeded", "failed"]
        assert (jobs[2]["error"]["used"], jobs[2]["error"]["asked"], alone) == (40, 30, 5)
        assert world.names(world.cities) == ["C0", "C1", "C3"]

    def test_what_replaces_another_one_is_written_after_it(
        self, world: Geography, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Together too much, and each in the place of the one before it within the limit.
        jobs, alone = self.run(world, monkeypatch, [60, 50, 40], name="Lyon")
        assert ([job["state"] for job in jobs], alone) == (["succeeded"] * 3, 3)
        assert world.app.http.get(f"/api/v1/datasets/{world.cities}/records/Lyon").json()["area"] == 40
