"""Records in bulk through the shipped client, on real processes: many keys, merges, changes by filters."""

import pytest
from tests.support.rest import Rest

from gristmill.client import Client, JobFailed

CONTRACT = {
    "fields": [
        {"name": "k", "type": "integer", "required": True},
        {"name": "kind", "type": "text"},
        {"name": "n", "type": "integer"},
        {"name": "meta", "type": "json", "members": [{"path": "year", "type": "number"}]},
    ],
    "key": ["k"],
}


def test_bulk_reads_and_writes(rest: Rest) -> None:
    name = rest.create(CONTRACT)
    with Client(rest.system.url) as client:
        records = [
            {"k": k, "kind": f"kind {k % 3}", "n": k, "meta": {"year": 2000 + k % 30, "tags": ["a"] * (k % 2)}}
            for k in range(3000)
        ]
        client.submit(name, records, wait=60)
        assert client.count(name, where={"meta.year": {"ge": 2020}}) == 1000
        assert client.count(name, where={"meta.tags": {"contains": "a"}, "kind": {"icontains": "KIND 1"}}) == 500
        assert list(client.distinct(name, "kind", order="value", page_size=2)) == [
            {"value": f"kind {kind}", "count": 1000} for kind in range(3)
        ]
        assert [one["k"] for one in client.get_many(name, range(2500, 3500))] == list(range(2500, 3000))
        found = list(client.records(name, where={"n": {"lt": 2500}}, order="-n", fields=["n"], page_size=1000))
        assert found == [{"n": n} for n in range(2499, -1, -1)]

        merged = client.submit(name, ({"k": k, "n": -k} for k in range(3000)), mode="merge", wait=60)
        assert merged["record_counts"]["succeeded"] == 3000
        assert client.record(name, 77) == {**records[77], "n": -77}
        skipped = client.submit(name, [{"k": 5, "n": 1}, {"k": 9000, "n": 1}], on_conflict="skip", wait=60)
        assert (skipped["record_counts"]["succeeded"], skipped["record_counts"]["superseded"]) == (1, 1)
        changed = client.patch_where(name, {"kind": "kind 2"}, {"meta": None}, wait=60)
        assert changed["result"] == {"changed": 1000}
        deleted = client.delete_many(name, range(1000, 4000), wait=60)
        assert deleted["result"] == {"deleted": 2000, "missing": 1000}
        assert client.count(name) == 1001


def test_a_merge_that_lacks_something_names_the_record_and_changes_nothing(rest: Rest) -> None:
    fields = [*CONTRACT["fields"], {"name": "must", "type": "text", "required": True}]
    name = rest.create({**CONTRACT, "fields": fields})
    with Client(rest.system.url) as client:
        client.submit(name, [{"k": 1, "must": "x"}], wait=60)
        with pytest.raises(JobFailed) as failed:
            client.submit(name, [{"k": 1, "n": 2}, {"k": 2, "n": 2}], mode="merge", wait=60)
        assert failed.value.job["error"]["errors"][0]["pointer"] == "/1/must"
        assert client.record(name, 1)["n"] is None
