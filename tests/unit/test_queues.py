"""One list of queues: a third queue is one line, and everything that serves queues follows it."""

import threading
from pathlib import Path

import pytest

from gristmill.api import metrics
from gristmill.bootstrap.shared import Gristmill
from gristmill.broker import queues
from gristmill.broker.app import make_celery, make_queues
from gristmill.broker.queues import QueueSpec, find_queue
from gristmill.core.config import Settings
from gristmill.dispatcher.__main__ import make_dispatcher
from gristmill.jobs.handlers import Registry, TransactionalHandler
from gristmill.stack.layout import DataFolder
from gristmill.stack.services import application

SETTINGS = Settings(worker_long_processes=3, worker_long_time_limit=99_999)


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "QUEUES", (*queues.QUEUES, QueueSpec("images", "worker_long")))


@pytest.mark.usefixtures("third")
class TestThirdQueue:
    def test_the_broker_has_it(self) -> None:
        found = {queue.name: queue.routing_key for queue in make_queues("amqp://localhost")}
        assert found == {"gristmill.default": "default", "gristmill.long": "long", "gristmill.images": "images"}
        assert set(make_celery(SETTINGS, confirm=True).amqp.queues) == set(found)

    def test_the_dispatcher_serves_it(self) -> None:
        dispatcher = make_dispatcher(Gristmill(SETTINGS, "test"), threading.Event())
        assert list(dispatcher._queues) == ["default", "long", "images"]

    def test_metrics_show_it(self) -> None:
        shown = {
            (family.name, *sample.labels.values()): sample.value
            for family in metrics._chunks([("images", "waiting", 4, 2.5)])
            for sample in family.samples
        }
        assert shown["gristmill_oldest_due_chunk_seconds", "images"] == 2.5
        assert shown["gristmill_chunks", "images", "waiting"] == 4
        assert shown["gristmill_chunks", "long", "waiting"] == 0

    def test_the_stack_runs_a_worker_for_it(self, tmp_path: Path) -> None:
        programs = {
            service.program.name: service.program.command for service in application(SETTINGS, DataFolder(tmp_path))
        }
        assert [name for name in programs if name.startswith("worker")] == ["worker", "worker-long", "worker-images"]
        assert programs["worker-images"][-2:] == ("--queue", "images")

    def test_a_worker_of_it_has_its_settings(self) -> None:
        queue = find_queue("images")
        assert (queue.processes(SETTINGS), queue.time_limit(SETTINGS)) == (3, 99_999)

    def test_a_handler_may_name_it(self) -> None:
        class Resize(TransactionalHandler):
            type = "images.resize"
            queue = "images"

        Registry().add(Resize())


def test_a_handler_of_a_queue_that_is_not_there_is_a_mistake() -> None:
    class Lost(TransactionalHandler):
        type = "lost"
        queue = "imagse"

    with pytest.raises(ValueError, match="default, long"):
        Registry().add(Lost())
