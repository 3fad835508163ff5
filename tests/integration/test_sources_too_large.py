"""Sources whose batches a dataset refuses as too large: cut until they are taken, or failed with the reason."""

from collections.abc import Iterator

import pyarrow as pa
import pytest
from tests.support.in_process import InProcess
from tests.support.sources import Scripted, SourcesInProcess, numbers, scripted, values

SETTINGS = {"sources_poll": 0.05, "sources_heartbeat": 0.2, "sources_lease": 5, "sources_retry_base": 0.05}
# Its step takes a batch as a whole, so that a job has one chunk.
WHOLE = {
    "fields": [{"name": "n", "type": "integer"}, {"name": "sum", "type": "integer", "computed": True}],
    "pipeline": [{"op": "cumulative", "column": "n", "agg": "sum", "as": "sum"}],
}


def running(database_url: str, **options: int) -> Iterator[SourcesInProcess]:
    with scripted():
        app = InProcess(database_url, **SETTINGS, **options)
        sources = SourcesInProcess(app)
        with app.http:
            yield sources
            sources.stop_runners()
        app.gristmill.database.close()


@pytest.fixture
def five(database_url: str) -> Iterator[SourcesInProcess]:
    """At most five records of a batch."""
    yield from running(database_url, transforms_max_batch_records=5)


@pytest.fixture
def few_bytes(database_url: str) -> Iterator[SourcesInProcess]:
    yield from running(database_url, jobs_chunk_bytes=2048)


class TestTooLarge:
    def test_batches_are_cut_until_they_are_taken_and_nothing_is_lost_or_doubled(self, five: SourcesInProcess) -> None:
        dataset = five.app.dataset(WHOLE)
        five.app.work()
        name = five.create(dataset, settings={"batch_size": 20})
        Scripted.scripts[name] += numbers(67)
        five.start_runner()
        found = five.until(name, lambda one: one["records"] == 67, "all of them")
        assert (found["state"], found["failures"], found["rejected"]) == ("running", 0, 0)
        assert found["position"] == {"place": 67}
        five.app.work()
        assert values(five.app.rows(dataset)) == list(range(67))
        totals = [job["record_counts"]["total"] for job in five.jobs(name)]
        assert sum(totals) == 67
        assert max(totals) <= 5
        assert [position for script, position in Scripted.opened if script == name] == [None], "nothing is read again"

    def test_so_are_those_of_too_many_bytes(self, few_bytes: SourcesInProcess) -> None:
        dataset = few_bytes.app.dataset(WHOLE)
        few_bytes.app.work()
        name = few_bytes.create(dataset, settings={"batch_size": 1000, "batch_seconds": 1})
        Scripted.scripts[name] += numbers(1000)
        few_bytes.start_runner()
        few_bytes.until(name, lambda one: one["records"] == 1000, "all of them")
        few_bytes.app.work()
        assert values(few_bytes.app.rows(dataset)) == list(range(1000))

    def test_what_was_read_at_once_is_never_cut_and_the_source_fails_until_that_is_mended(
        self, five: SourcesInProcess
    ) -> None:
        dataset = five.app.dataset(WHOLE)
        five.app.work()
        name = five.create(dataset)
        Scripted.scripts[name] += [{"n": 0}, pa.table({"n": list(range(1, 9))})]
        five.start_runner()
        found = five.until(name, lambda one: one["state"] == "failed", "it fails")
        assert found["last_error"]["code"] == "source_failed"
        assert "transforms.max_batch_records" in found["last_error"]["detail"]
        assert (found["records"], found["position"]) == (1, {"place": 1})
        Scripted.scripts[name][1:] = [pa.table({"n": list(range(1, 5))}), pa.table({"n": list(range(5, 9))})]
        five.patch(name, state="running")
        five.until(name, lambda one: one["records"] == 9, "it goes on")
        five.app.work()
        assert values(five.app.rows(dataset)) == list(range(9))
