"""A patched record is computed and embedded from its fields as they end up, and nothing is locked meanwhile."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.support.ends import counted
from tests.support.in_process import InProcess
from tests.support.servers import add_database
from tests.support.steps import PAIR, STEPS

from gristmill.bootstrap.registry import build_registry
from gristmill.bootstrap.worker import build_executor
from gristmill.jobs.repository.dispatch import mark_sent
from gristmill.records.changes.tasks import PATCH

FIELDS = [{"name": "k", "type": "text", "required": True}, *({"name": name, "type": "text"} for name in "abc")]
COMPUTED = {"name": "pair", "type": "text", "computed": True}
CONTRACT = {"fields": FIELDS, "key": ["k"], "embedding": {"from": ["a", "b"], "embedder": "hashing"}}
# Embedded from a field that a step makes of two others.
JOINED = {
    "fields": [*FIELDS, COMPUTED],
    "key": ["k"],
    "pipeline": [PAIR],
    "embedding": {"from": ["pair", "c"], "embedder": "hashing"},
}
Record = dict[str, Any]


class Spy:
    """Stands before the embedding of patches: remembers what is embedded, and does what the test wants first."""

    def __init__(self, step: Any) -> None:
        self.step = step
        self.seen: list[Record] = []
        self.before: Callable[[], object] = lambda: None

    def embed_record(self, contract: Any, dataset: Any, record: Record) -> Any:
        self.seen.append({name: record[name] for name in contract.embedding.from_})
        self.before()
        return self.step.embed_record(contract, dataset, record)


class Patches:
    def __init__(self, app: InProcess, contract: Record = CONTRACT) -> None:
        registry = build_registry(app.gristmill)
        handler: Any = registry.get(PATCH)
        self.app = app
        self.spy = handler._embedding = Spy(handler._embedding)
        app.executor = build_executor(app.gristmill, registry)
        self.name = app.dataset(contract)
        app.job(app.post(self.name, [{"k": "1", "a": "old a", "b": "old b"}]))

    def patch(self, **changes: Any) -> Any:
        return self.app.http.patch(f"/api/v1/datasets/{self.name}/records/1", json=changes)

    def check(self, **record: Any) -> None:
        """The record has these fields, and the vector of a record that was submitted with them."""
        self.app.job(self.app.post(self.name, [{"k": "like", **record}]))
        rows = self.query(f"SELECT k, a, b, c, _embedding::text AS vector FROM data.{self.name} ORDER BY k")
        patched, like = rows
        assert {name: patched[name] for name in record} == record
        assert patched["vector"] == like["vector"]

    def query(self, sql: str) -> list[Record]:
        with self.app.gristmill.database.autocommit() as connection:
            result = connection.exec_driver_sql(sql)
            return [dict(row) for row in result.mappings()] if result.returns_rows else []


@pytest.fixture(scope="module")
def app() -> Iterator[InProcess]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("gristmill.bootstrap.shared.build_steps", lambda *_: STEPS)
        url = add_database(os.environ["GRISTMILL_TEST_POSTGRES"], os.environ["GRISTMILL_TEST_TEMPLATE"])
        found = InProcess(url, jobs_retry_base=0.001, jobs_retry_max=0.001)
        yield found
        found.gristmill.database.close()


@pytest.fixture
def patches(app: InProcess) -> Patches:
    return Patches(app)


class TestSources:
    def test_one_of_two_is_embedded_with_the_other_as_it_is(self, patches: Patches) -> None:
        assert patches.app.job(patches.patch(b="new b"))["state"] == "succeeded"
        assert patches.spy.seen == [{"a": "old a", "b": "new b"}]
        patches.check(a="old a", b="new b")

    def test_all_of_them_are_enough(self, patches: Patches) -> None:
        assert patches.app.job(patches.patch(a="new a", b=None))["state"] == "succeeded"
        assert patches.spy.seen == [{"a": "new a", "b": None}]
        patches.check(a="new a", b=None)

    def test_nothing_to_embed_leaves_no_vector(self, patches: Patches) -> None:
        assert patches.app.job(patches.patch(a=None, b=""))["state"] == "succeeded"
        assert patches.query(f"SELECT _embedding FROM data.{patches.name}") == [{"_embedding": None}]

    def test_another_field_embeds_nothing(self, patches: Patches) -> None:
        assert patches.app.job(patches.patch(c="new c"))["state"] == "succeeded"
        assert patches.spy.seen == []
        patches.check(a="old a", b="old b", c="new c")

    def test_a_record_that_is_not_there_is_not_embedded(self, patches: Patches) -> None:
        answer = patches.patch(b="new b")
        patches.query(f"DELETE FROM data.{patches.name}")
        job = patches.app.job(answer)
        assert (job["state"], job["error"]["code"]) == ("failed", "unknown_record")
        assert patches.spy.seen == []


class TestMeanwhile:
    def test_nothing_is_held_while_it_is_embedded(self, patches: Patches) -> None:
        held: list[Record] = []

        def look() -> None:
            patches.query(f"SELECT FROM data.{patches.name} FOR UPDATE NOWAIT")
            held.extend(
                patches.query(
                    "SELECT state FROM pg_stat_activity WHERE datname = current_database()"
                    " AND starts_with(state, 'idle in transaction')"
                )
            )

        patches.spy.before = look
        assert patches.app.job(patches.patch(b="new b"))["state"] == "succeeded"
        assert patches.spy.seen
        assert held == []

    def test_a_source_that_changed_meanwhile_is_embedded_again(self, patches: Patches) -> None:
        def change() -> None:
            if len(patches.spy.seen) == 1:
                patches.query(f"UPDATE data.{patches.name} SET a = 'changed'")

        patches.spy.before = change
        assert patches.app.job(patches.patch(b="new b"))["state"] == "succeeded"
        assert patches.spy.seen == [{"a": "old a", "b": "new b"}, {"a": "changed", "b": "new b"}]
        patches.check(a="changed", b="new b")

    def test_one_that_never_rests_is_tried_again_later(self, patches: Patches) -> None:
        def change() -> None:
            if len(patches.spy.seen) < 8:
                patches.query(f"UPDATE data.{patches.name} SET a = 'changed {len(patches.spy.seen)}'")

        patches.spy.before = change
        job = patches.app.http.get(patches.patch(b="new b").json()["links"]["self"]).json()
        while not job["done"]:
            patches.app.work()
            job = patches.app.http.get(job["links"]["self"]).json()
        assert (job["state"], job["attempt"]) == ("succeeded", 2)
        patches.check(a="changed 7", b="new b")

    def test_patches_of_one_record_in_one_message_see_each_other(self, patches: Patches) -> None:
        answers = [patches.patch(a="new a"), patches.patch(b="new b"), patches.patch(c="c"), patches.patch(a="last a")]
        with patches.app.gristmill.database.transaction() as connection:
            sent = mark_sent(connection, "default", 100, 32)
        assert len(sent) == len(answers)
        assert (
            counted(patches.app.executor.run_all([(one.job_id, one.number, one.dispatch) for one in sent])) == "4 done"
        )
        patches.check(a="last a", b="new b", c="c")
        assert patches.spy.seen[-1] == {"a": "last a", "b": "new b"}


class TestComputed:
    """The embedding reads ``pair``, which a step makes of ``a`` and ``b``."""

    @pytest.fixture
    def joined(self, app: InProcess) -> Patches:
        return Patches(app, JOINED)

    def test_it_is_made_of_the_change_and_of_what_is_stored_and_then_embedded(self, joined: Patches) -> None:
        assert joined.app.job(joined.patch(b="new b"))["state"] == "succeeded"
        assert joined.spy.seen == [{"pair": "old a new b", "c": None}]
        assert joined.query(f"SELECT pair FROM data.{joined.name}") == [{"pair": "old a new b"}]
        joined.check(a="old a", b="new b")

    def test_what_it_is_made_of_changed_meanwhile(self, joined: Patches) -> None:
        def change() -> None:
            if len(joined.spy.seen) == 1:
                joined.query(f"UPDATE data.{joined.name} SET a = 'changed'")

        joined.spy.before = change
        assert joined.app.job(joined.patch(b="new b"))["state"] == "succeeded"
        assert [seen["pair"] for seen in joined.spy.seen] == ["old a new b", "changed new b"]
        assert joined.query(f"SELECT pair FROM data.{joined.name}") == [{"pair": "changed new b"}]
        joined.check(a="changed", b="new b")

    def test_a_field_beside_it_is_embedded_with_it_as_it_is_stored(self, joined: Patches) -> None:
        assert joined.app.job(joined.patch(c="new c"))["state"] == "succeeded"
        assert joined.spy.seen == [{"pair": "old a old b", "c": "new c"}]

    def test_patches_in_one_message_see_each_other(self, joined: Patches) -> None:
        answers = [joined.patch(a="new a"), joined.patch(b="new b"), joined.patch(c="new c")]
        with joined.app.gristmill.database.transaction() as connection:
            sent = mark_sent(connection, "default", 100, 32)
        assert len(sent) == len(answers)
        assert (
            counted(joined.app.executor.run_all([(one.job_id, one.number, one.dispatch) for one in sent])) == "3 done"
        )
        assert joined.query(f"SELECT pair FROM data.{joined.name}") == [{"pair": "new a new b"}]
        joined.check(a="new a", b="new b", c="new c")
