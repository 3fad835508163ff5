"""Promise 3 for hierarchies: whatever runs when, the tables end as if the jobs had run one by one, and limits hold."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.in_process import InProcess, Job

from gristmill.bootstrap.worker import build_executor
from gristmill.jobs.repository.dispatch import mark_sent

Record = dict[str, Any]
Tables = dict[str, dict[str, Record]]
NAME = {"name": "name", "type": "text", "required": True, "max_length": 20}
SIZE = {"name": "size", "type": "integer", "minimum": 0}
CAP = {"name": "cap", "type": "integer"}
ROOM = {"sum": "size", "at_most": "cap"}


def ref(name: str) -> Job:
    return {"name": name, "type": "text", "max_length": 20}


FIELDS = {
    "a": [NAME, CAP],
    "d": [NAME],
    "b": [NAME, SIZE, CAP, ref("a")],
    "c": [NAME, SIZE, ref("b"), ref("d")],
    "e": [NAME, ref("d")],
}
PARENTS: dict[str, list[Job]] = {
    "a": [],
    "d": [],
    "b": [{"field": "a", "limits": [ROOM, {"count": True, "at_most": 2}]}],
    "c": [{"field": "b", "limits": [ROOM]}, {"field": "d", "limits": [{"max": "size", "at_most": 7}]}],
    "e": [{"field": "d"}],
}
KEYS = st.sampled_from(["k0", "k1", "k2"])
NUMBERS = st.none() | st.integers(0, 9)


class Refused(Exception):
    """A job that the order does not let succeed."""


class Model:
    """The datasets as plain dictionaries, and jobs that are applied one by one, each wholly or not at all."""

    def __init__(self) -> None:
        self.tables: Tables = {name: {} for name in FIELDS}

    def apply(self, name: str, mode: str, records: list[Record]) -> bool:
        """Return whether the job succeeds."""
        before = {key: dict(record) for key, record in self.tables[name].items()}
        try:
            self._write(name, mode, records)
        except Refused:
            self.tables[name] = before
            return False
        return True

    def _write(self, name: str, mode: str, records: list[Record]) -> None:
        table = self.tables[name]
        written = [dict(record) for record in records]
        if mode == "merge":
            written = []
            laid: dict[str, Record] = {}
            for record in records:
                base = laid.get(record["name"]) or table.get(record["name"]) or dict.fromkeys(_names(name))
                laid[record["name"]] = {**base, **record}
            written = list(laid.values())
        if mode == "fail" and any(record["name"] in table for record in written):
            raise Refused
        for record in written:
            if mode != "skip" or record["name"] not in table:
                table[record["name"]] = {**dict.fromkeys(_names(name)), **record}
        for parent in PARENTS[name]:
            for record in written:
                above = record.get(parent["field"])
                if above is not None:
                    if above not in self.tables[parent["field"]]:
                        raise Refused
                    self._check(name, parent, above)
        for child, parents in PARENTS.items():
            for parent in parents:
                if parent["field"] == name:
                    for key in {record["name"] for record in written}:
                        self._check(child, parent, key)

    def _check(self, child: str, parent: Job, key: str) -> None:
        children = [one for one in self.tables[child].values() if one[parent["field"]] == key]
        for limit in parent.get("limits", ()):
            bound = limit["at_most"]
            bound = self.tables[parent["field"]][key][bound] if isinstance(bound, str) else bound
            sizes = [one["size"] for one in children if limit.get("count") or one["size"] is not None]
            total = len(sizes) if limit.get("count") else sum(sizes) if "sum" in limit else max(sizes, default=0)
            if bound is not None and total > bound and children:
                raise Refused


def _names(name: str) -> list[str]:
    return [field["name"] for field in FIELDS[name]]


@st.composite
def writes(draw: Callable[[Any], Any]) -> tuple[str, str, list[Record]]:
    name = draw(st.sampled_from("aabbbccccdde"))
    mode = draw(st.sampled_from(["replace", "replace", "replace", "replace", "fail", "skip", "merge"]))
    members = {
        field["name"]: KEYS if field is NAME else NUMBERS if field["type"] == "integer" else st.none() | KEYS
        for field in FIELDS[name]
    }
    if mode == "merge":
        optional = {key: value for key, value in members.items() if key != "name"}
        records = draw(st.lists(st.fixed_dictionaries({"name": KEYS}, optional=optional), min_size=1, max_size=2))
    else:
        records = draw(st.lists(st.fixed_dictionaries(members), min_size=1, max_size=3))
    return name, mode, list({record["name"]: record for record in records}.values())


class World:
    def __init__(self, app: InProcess) -> None:
        self.app = app
        number = next(app.names)
        self.names = {name: f"{name}{number}_order" for name in FIELDS}
        for name, fields in FIELDS.items():
            parents = [{**parent, "dataset": self.names[parent["field"]]} for parent in PARENTS[name]]
            body = {"name": self.names[name], "fields": fields, "key": ["name"], "parents": parents}
            assert app.job(app.http.post("/api/v1/datasets", json=body))["state"] == "succeeded"

    def submit(self, name: str, mode: str, records: list[Record]) -> Any:
        options = {"mode": "merge"} if mode == "merge" else {"on_conflict": mode}
        return self.app.post(self.names[name], records, params=options)

    def run(self) -> None:
        """Run what is due with two workers at the same time."""
        threads = [threading.Thread(target=self._work, args=(turn,)) for turn in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _work(self, turn: int) -> None:
        executor = build_executor(self.app.gristmill)
        for _ in range(1000):
            with self.app.gristmill.database.transaction() as connection:
                messages = mark_sent(connection, "default", 4, most=4)
            if not messages:
                with self.app.gristmill.database.autocommit() as connection:
                    left = connection.exec_driver_sql(
                        "SELECT count(*) FROM gristmill.jobs WHERE finished_at IS NULL AND type LIKE 'records.%%'"
                    ).scalar_one()
                if not left:
                    return
            # The two take what they got in opposite orders; messages of one run stay together, as the dispatcher sends.
            runs: dict[Any, list[Any]] = {}
            for place, message in enumerate(messages):
                runs.setdefault(message.run or place, []).append(message)
            for run in list(runs.values())[:: 1 if turn else -1]:
                executor.run_all([(message.job_id, message.number, message.dispatch) for message in run])
        raise AssertionError("the jobs did not end")

    def tables(self) -> Tables:
        found: Tables = {}
        for name, dataset in self.names.items():
            answer = self.app.http.get(f"/api/v1/datasets/{dataset}/records", params={"page_size": 100}).json()
            found[name] = {record["name"]: record for record in answer["records"]}
        return found

    def states(self, jobs: list[str]) -> Iterator[str]:
        for job in jobs:
            yield self.app.http.get(f"/api/v1/jobs/{job}").json()["state"]


class TestOrder:
    @settings(max_examples=15)
    @given(batches=st.lists(st.lists(writes(), min_size=1, max_size=14), min_size=1, max_size=3))
    def test_promise_3_concurrent_jobs_of_a_hierarchy_equal_a_sequential_model(
        self, app: InProcess, batches: list[list[tuple[str, str, list[Record]]]]
    ) -> None:
        world, model = World(app), Model()
        for batch in batches:
            jobs, expected = [], []
            for write in batch:
                answer = world.submit(*write)
                if answer.status_code == 409:
                    assert not model.apply(*write), (write, answer.text)
                    continue
                assert answer.status_code == 202, answer.text
                jobs.append(answer.json()["id"])
                expected.append("succeeded" if model.apply(*write) else "failed")
            world.run()
            assert list(world.states(jobs)) == expected, batch
            assert world.tables() == model.tables, batch
