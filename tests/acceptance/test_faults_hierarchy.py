"""Workers killed while they change records with parents and children: all of it happens once, or none of it yet."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.faults import FaultStack
from tests.support.hierarchy import AREA, LIMITS, NAME, field_of
from tests.support.rest import Json, Rest
from tests.support.system import eventually

pytestmark = [pytest.mark.promise(1), pytest.mark.promise(2), pytest.mark.promise(3)]
END = "SELECT FROM gristmill.jobs WHERE id = %s FOR UPDATE"
BLOCKED = """
SELECT pid FROM pg_stat_activity WHERE application_name = 'gristmill-worker' AND %s = ANY(pg_blocking_pids(pid))
"""


class World:
    """Countries and their cities."""

    def __init__(self, stack: FaultStack, rest: Rest) -> None:
        self.stack = stack
        self.rest = rest
        self.countries = rest.create({"fields": [NAME, AREA], "key": ["name"]})
        spec = {"field": "country", "dataset": self.countries, "on_delete": "cascade", "on_rename": "cascade"}
        parents = [{**spec, "limits": LIMITS[:1]}]
        fields = [NAME, AREA, field_of("country")]
        self.cities = rest.create({"fields": fields, "key": ["name"], "parents": parents})
        rest.store(self.countries, [{"name": "France", "area": 100}, {"name": "Spain", "area": 100}])
        rest.store(self.cities, [{"name": f"f{n:03}", "area": 1, "country": "France"} for n in range(50)])
        rest.store(self.cities, [{"name": f"s{n:03}", "area": 1, "country": "Spain"} for n in range(50)])

    def rows(self) -> list[list[Json]]:
        return [self.rest.rows(name) for name in (self.countries, self.cities)]

    def url(self, name: str, key: str) -> str:
        return f"/api/v1/datasets/{name}/records/{key}"

    def killed_at_the_end(self, city: str, call: Callable[[], Any]) -> Json:
        """Let a job do all that it has to and kill its worker before the commit; return the job once it has ended."""
        return self._killed(city, call, before_the_end=False)

    def killed_at_the_end_of_a_create(self, country: str, call: Callable[[], Any]) -> Json:
        """The same for a job that waits for the parent of what it creates, to compare its limits."""
        return self._killed(country, call, before_the_end=False, dataset=self.countries)

    def killed_at(self, city: str, call: Callable[[], Any]) -> Json:
        """Kill the worker of a job while it waits for this city, in the middle of what it writes."""
        return self._killed(city, call, before_the_end=True)

    def _killed(self, key: str, call: Callable[[], Any], before_the_end: bool, dataset: str = "") -> Json:
        stack, before = self.stack, self.rows()
        row = f"SELECT FROM data.{dataset or self.cities} WHERE name = %s FOR UPDATE"
        with stack.locked(row, (key,)) as locked:
            answer = call()
            assert answer.status_code == 202, answer.text
            job_id = answer.json()["id"]
            stack.running(job_id)
            pid = locked.info.backend_pid
            eventually(lambda: stack.system.query(BLOCKED, (pid,)), "it waits for the record")
            if before_the_end:
                stack.system.kill("worker")
            else:
                with stack.locked(END, (job_id,)) as end:
                    locked.rollback()
                    last = end.info.backend_pid
                    eventually(lambda: stack.system.query(BLOCKED, (last,)), "all is done but the commit")
                    stack.system.kill("worker")
        eventually(lambda: self.rows() == before, "what the killed worker did is not there")
        stack.system.start("worker2")
        job: Json = stack.system.finished(job_id)
        assert stack.system.chunk(job_id)["attempts"] == 2
        return job


@pytest.fixture
def world(stack: FaultStack) -> Iterator[World]:
    with Rest(stack.system) as rest:
        yield World(stack, rest)


def test_between_the_check_of_a_limit_and_the_commit_of_a_patch(world: World) -> None:
    """The room that it takes is taken once: what is asked for after it finds the rest."""
    rest = world.rest
    job = world.killed_at_the_end("f001", lambda: rest.http.patch(world.url(world.cities, "f001"), json={"area": 40}))
    assert job["state"] == "succeeded", job
    answer = rest.http.patch(world.url(world.cities, "f002"), json={"area": 13})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["used"]) == (409, "limit_exceeded", 88)
    rest.succeeded(rest.http.patch(world.url(world.cities, "f002"), json={"area": 12}))


def test_between_the_check_of_a_limit_and_the_commit_of_a_create(world: World) -> None:
    """A create that fits takes its room once, and one that does not is refused after the kill as before it."""
    rest, city = world.rest, {"name": "new", "area": 40, "country": "France"}
    job = world.killed_at_the_end_of_a_create("France", lambda: rest.post(world.cities, [city]))
    assert job["state"] == "succeeded", job
    answer = rest.post(world.cities, [{**city, "name": "other", "area": 11}])
    assert (answer.status_code, answer.json()["used"]) == (409, 90)
    assert rest.post(world.cities, [{**city, "name": "other", "area": 10}]).status_code == 202


@pytest.mark.parametrize("where", ["middle", "end"])
def test_in_a_cascade(world: World, where: str) -> None:
    kill = world.killed_at if where == "middle" else world.killed_at_the_end
    job = kill("f049", lambda: world.rest.http.delete(world.url(world.countries, "France")))
    assert (job["state"], job["result"]) == ("succeeded", {"deleted": 1, "cascaded": {world.cities: 50}})
    countries, cities = world.rows()
    assert [row["name"] for row in countries] == ["Spain"]
    assert [row["name"] for row in cities] == [f"s{n:03}" for n in range(50)]


@pytest.mark.parametrize("where", ["middle", "end"])
def test_in_a_rename_that_children_follow(world: World, where: str) -> None:
    kill = world.killed_at if where == "middle" else world.killed_at_the_end
    job = kill("f049", lambda: world.rest.http.patch(world.url(world.countries, "France"), json={"name": "Gaul"}))
    assert (job["state"], job["result"]["moved"]) == ("succeeded", {world.cities: 50})
    countries, cities = world.rows()
    assert [row["name"] for row in countries] == ["Gaul", "Spain"]
    assert [row["country"] for row in cities] == ["Gaul"] * 50 + ["Spain"] * 50


def test_a_truncate_that_takes_children_along(world: World) -> None:
    truncate = f"/api/v1/datasets/{world.countries}/truncate"
    job = world.killed_at_the_end("s000", lambda: world.rest.http.post(truncate))
    assert (job["state"], job["result"]["cascaded"]) == ("succeeded", {world.cities: 100})
    assert world.rows() == [[], []]
