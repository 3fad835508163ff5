"""Quarantine beside parents: over any number of chunks, each record is judged after those before it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.in_process import NDJSON, InProcess

KEYS = st.sampled_from(["k0", "k1", "k2", "k3"])
NAME = {"name": "name", "type": "text", "required": True, "max_length": 5}
SIZE = {"name": "size", "type": "float", "minimum": 0}
CAP = {"name": "cap", "type": "decimal", "precision": 9, "scale": 3}
PARENTS: dict[str, list[tuple[str, list[Any]]]] = {
    "a": [],
    "b": [("a", [{"sum": "size", "at_most": "cap"}, {"count": True, "at_most": 2}])],
    "c": [("b", [{"max": "size", "at_most": 0.7}]), ("a", [])],
}
SIZES = st.none() | st.sampled_from([0, 0.1, 0.2, 0.7, 0.8])
CAPS = st.none() | st.sampled_from(["0.000", "0.300", "0.800"])


@pytest.fixture
def chunked(database_url: str) -> Iterator[InProcess]:
    found = InProcess(database_url, jobs_chunk_records=3)
    with found.http:
        yield found
    found.gristmill.database.close()


def _record(name: str) -> Any:
    members: dict[str, Any] = {"name": KEYS, "size": SIZES, "cap": CAPS}
    return st.fixed_dictionaries(members | {above: st.none() | KEYS for above, _ in PARENTS[name]})


WRITES = st.sampled_from("aabbbcc").flatmap(
    lambda name: st.tuples(
        st.just(name), st.sampled_from(["replace", "replace", "skip"]), st.lists(_record(name), min_size=1, max_size=9)
    )
)


class Model:
    def __init__(self) -> None:
        self.tables: dict[str, dict[str, Any]] = {name: {} for name in PARENTS}

    def write(self, name: str, mode: str, records: list[Any]) -> list[int]:
        """Write what fits; return the places of the records that do not."""
        return [place for place, record in enumerate(records) if not self._fits(name, mode, record)]

    def _fits(self, name: str, mode: str, record: Any) -> bool:
        table = self.tables[name]
        if any(record[above] is not None and record[above] not in self.tables[above] for above, _ in PARENTS[name]):
            return False
        before = table.get(record["name"])
        if mode == "skip" and before is not None:
            return True
        table[record["name"]] = record
        if self._holds():
            return True
        del table[record["name"]]
        if before is not None:
            table[record["name"]] = before
        return False

    def _holds(self) -> bool:
        for name, parents in PARENTS.items():
            for above, limits in parents:
                for key, parent in self.tables[above].items():
                    children = [one for one in self.tables[name].values() if one[above] == key]
                    sizes = [round(one["size"] * 10) for one in children if one["size"] is not None]
                    for limit in limits:
                        bound = 2 if "count" in limit else 7 if "max" in limit else parent["cap"]
                        bound = round(float(bound) * 10) if isinstance(bound, str) else bound
                        total = len(children) if "count" in limit else max(sizes, default=0)
                        total = sum(sizes) if "sum" in limit else total
                        if bound is not None and total > bound:
                            return False
        return True


@settings(max_examples=25)
@given(writes=st.lists(WRITES, min_size=1, max_size=9), at_once=st.booleans())
def test_each_record_is_judged_after_those_before_it(
    chunked: InProcess, writes: list[tuple[str, str, list[Any]]], at_once: bool
) -> None:
    names: dict[str, str] = {}
    for name, parents in PARENTS.items():
        fields = [NAME, SIZE, CAP, *({"name": above, "type": "text", "max_length": 5} for above, _ in parents)]
        specs = [{"field": above, "dataset": names[above], "limits": limits} for above, limits in parents]
        names[name] = chunked.dataset({"fields": fields, "key": ["name"], "parents": specs})
    chunked.work()
    model, expected = Model(), []
    for name, mode, records in writes:
        body = "\n".join(map(json.dumps, records)).encode()
        options = {"on_error": "quarantine", "on_conflict": mode}
        answer = chunked.post(names[name], body, headers=NDJSON, params=options)
        assert answer.status_code == 202, answer.text
        expected.append((answer.json()["id"], len(records), model.write(name, mode, records)))
        if not at_once:
            chunked.work()
    chunked.work()
    for job_id, total, refused in expected:
        job = chunked.http.get(f"/api/v1/jobs/{job_id}").json()
        assert job["state"] == "succeeded", job
        counts = job["record_counts"]
        assert counts["total"] == counts["succeeded"] + counts["rejected"] + counts["superseded"] == total
        rejects = chunked.http.get(f"/api/v1/jobs/{job_id}/rejects").json()["rejects"]
        assert [one["record"] for one in rejects] == refused
    for name, table in model.tables.items():
        assert {one["name"]: one for one in chunked.rows(names[name])} == table
