"""What Gristmill changes in Flower before it starts: small things for which it has no option."""

import asyncio
import functools
import re
from collections import deque
from collections.abc import Sequence
from typing import Any

import flower.app
import flower.events
import flower.utils.tasks
import flower.views
import flower.views.monitor
import flower.views.tasks
from amqp.exceptions import NotFound
from celery import Celery
from flower.utils.search import TaskSearchEngine
from tornado import web

from gristmill.core.logs import get_logger

log = get_logger()
# Seconds that the broker page waits for the broker.
PATIENCE = 2.0
_JOB_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)


def change() -> None:
    """Make the changes. Raises AttributeError where this version of Flower has nothing of the kind: it must not start
    with its metrics open."""
    metrics = flower.views.monitor.Metrics
    metrics.get = web.authenticated(metrics.get)
    flower.utils.tasks.get_task_by_id  # noqa: B018 - says that it is there
    flower.utils.tasks.get_task_by_id = flower.views.tasks.get_task_by_id = find_task
    flower.events.TaskSearchEngine = LazySearch
    flower.events.Events = GatheringEvents
    flower.app.Events = GatheringEvents
    handler = flower.views.BaseHandler
    handler.get_broker = _with_queues(handler.get_broker)
    handler.get_active_queue_names = _with_all_names(handler.get_active_queue_names)


def find_task(events: Any, task_id: str) -> Any:
    """Return the task with this id; for the id of a job the one of its chunks that changed last, as it was sent last.

    A worker may tell that it gave a chunk back after the dispatcher has told that it sent it anew. None without one.
    """
    tasks = events.state.tasks
    found = tasks.get(task_id)
    if found is None and _JOB_ID.fullmatch(task_id):
        prefix = f"{task_id.lower()}."
        newest: dict[str, tuple[int, Any]] = {}
        for id_, task in tasks.items():
            chunk, _, dispatch = id_.removeprefix(prefix).partition(".")
            if id_.startswith(prefix) and dispatch.isdecimal():
                newest[chunk] = max(newest.get(chunk, (0, task)), (int(dispatch), task), key=lambda one: one[0])
        found = max((task for _, task in newest.values()), key=lambda task: task.timestamp or 0, default=None)
    return found


class LazySearch(TaskSearchEngine):  # type: ignore[misc]
    """Flower's search, whose index is brought up to date when somebody searches.

    Flower does that at each event, which costs three times as much as everything else that it does with one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._changed: dict[str, Any] = {}

    def upsert(self, task: Any) -> None:
        self._changed[task.uuid] = task

    def remove(self, task_id: str) -> None:
        self._changed.pop(task_id, None)
        super().remove(task_id)

    def rebuild(self, tasks: Any) -> None:
        self._changed.clear()
        super().rebuild(tasks)

    def matching_ids(self, query: Any, candidates: Any = None) -> Any:
        self._catch_up()
        return super().matching_ids(query, candidates)

    def search(self, tasks: Any, query: Any = "", **options: Any) -> Any:
        self._catch_up()
        return super().search(tasks, query, **options)

    def _catch_up(self) -> None:
        changed, self._changed = self._changed, {}
        for task in changed.values():
            super().upsert(task)


class GatheringEvents(flower.events.Events):  # type: ignore[misc]
    """Flower's receiver, which hands what one message brought to the loop at once.

    Flower does that for each event, which costs as much as the event itself.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._received: deque[dict[str, Any]] = deque()
        self._is_due = False

    def on_event(self, event: dict[str, Any]) -> None:
        """Called in the thread that receives."""
        self._received.append(event)
        if not self._is_due:
            self._is_due = True
            self.io_loop.add_callback(self._take)

    def _take(self) -> None:
        # First: what is appended from here on is either still taken, or asks for another turn.
        self._is_due = False
        for _ in range(len(self._received)):
            event = self._received.popleft()
            try:
                self.state.event(event)
            except Exception:
                # One event that is not understood must not keep the later ones back.
                log.exception("event.not_understood", type=event.get("type"))


class Queues:
    """The queues of a RabbitMQ broker as AMQP itself knows them, for nodes without the management plugin.

    ``messages`` are those that no worker has taken, as Flower counts those of a Redis broker.
    """

    def __init__(self, app: Celery) -> None:
        self._app = app

    async def queues(self, names: Sequence[str]) -> list[dict[str, Any]]:
        return await asyncio.get_running_loop().run_in_executor(None, self._read, list(names))

    def _read(self, names: Sequence[str]) -> list[dict[str, Any]]:
        found = []
        with self._app.connection_for_read(connect_timeout=PATIENCE, heartbeat=0) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=PATIENCE)
            for name in names:
                # The answer to a question after a queue that is not there ends its channel.
                channel = connection.channel()
                try:
                    _, ready, consumers = channel.queue_declare(name, passive=True)
                    found.append({"name": name, "messages": ready, "messages_ready": ready, "consumers": consumers})
                    channel.close()
                except NotFound:
                    continue
        return found


def _with_queues(get_broker: Any) -> Any:
    @functools.wraps(get_broker)
    def get(handler: Any) -> Any:
        application = handler.application
        if application.transport == "amqp" and not application.options.broker_api:
            return Queues(application.capp)
        return get_broker(handler)

    return get


def _with_all_names(get_names: Any) -> Any:
    """Flower names the queues of those workers that it has asked so far; the others exist too."""

    @functools.wraps(get_names)
    def get(handler: Any) -> list[str]:
        return sorted({*get_names(handler), *(queue.name for queue in handler.capp.conf.task_queues)})

    return get
