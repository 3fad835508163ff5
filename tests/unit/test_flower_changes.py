"""What is changed in Flower: the parts that need no broker."""

import uuid
from types import SimpleNamespace
from typing import Any

from celery.events.state import Task

from gristmill.broker.members import Member
from gristmill.stack.flower_changes import GatheringEvents, LazySearch, find_task

JOB = str(uuid.UUID(int=1))


def task(id_: str, state: str = "SUCCESS", timestamp: float = 0) -> Task:
    return Task(id_, name="records.ingest", state=state, timestamp=timestamp, kwargs="{'dataset': 'weather'}")


def events(*tasks: Task) -> Any:
    return SimpleNamespace(state=SimpleNamespace(tasks={one.uuid: one for one in tasks}))


class TestFindTask:
    def test_by_its_own_id(self) -> None:
        one = task(f"{JOB}.0.1")
        assert find_task(events(one, task(f"{JOB}.0.2", timestamp=5)), f"{JOB}.0.1") is one

    def test_by_the_id_of_the_job_the_one_that_changed_last(self) -> None:
        old, new, other = task(f"{JOB}.0.1", timestamp=1), task(f"{JOB}.0.2", timestamp=2), task(f"{uuid.uuid4()}.0.1")
        assert find_task(events(old, new, other), JOB.upper()) is new

    def test_a_sending_counts_more_than_what_is_told_late_of_the_one_before(self) -> None:
        back, anew = task(f"{JOB}.0.9", "RETRY", timestamp=3), task(f"{JOB}.0.10", "PENDING", timestamp=2)
        other = task(f"{JOB}.1.1", timestamp=1)
        assert find_task(events(anew, back, other), JOB) is anew

    def test_none_for_anything_else(self) -> None:
        found = events(task(f"{JOB}.0.1"))
        assert [find_task(found, id_) for id_ in (str(uuid.uuid4()), JOB[:-1], "", f"{JOB}.0")] == [None] * 4


class TestLazySearch:
    def test_it_finds_what_has_changed_since_the_last_search(self) -> None:
        search, one = LazySearch(), task(f"{JOB}.0.1", "STARTED")
        tasks = {one.uuid: one}
        search.upsert(one)
        assert search.search(tasks, JOB).task_ids == [one.uuid]
        one.state = "FAILURE"
        search.upsert(one)
        assert search.search(tasks, "state:STARTED").task_ids == []
        assert search.search(tasks, f"state:FAILURE {JOB} kwargs:dataset=weather").task_ids == [one.uuid]

    def test_it_finds_what_a_source_submitted(self) -> None:
        search = LazySearch()
        tasks = {}
        for number, by in enumerate(("source:demo", "source:demo2", "key:ann")):
            one = task(f"{JOB}.{number}.1")
            one.kwargs = Member(uuid.UUID(JOB), number, 1, "weather", 1, by).kwargs_text
            tasks[one.uuid] = one
            search.upsert(one)
        assert search.search(tasks, "kwargs:by=source:demo").task_ids == [f"{JOB}.0.1"]

    def test_it_forgets_what_was_removed_before_it_was_ever_searched(self) -> None:
        search, one = LazySearch(), task(f"{JOB}.0.1")
        search.upsert(one)
        search.remove(one.uuid)
        assert search.search({one.uuid: one}, JOB).task_ids == []
        assert search.matching_ids(JOB) == set()

    def test_it_begins_anew(self) -> None:
        search, one, other = LazySearch(), task(f"{JOB}.0.1"), task(f"{JOB}.1.1")
        search.upsert(one)
        search.rebuild([(other.uuid, other)])
        assert search.matching_ids(JOB) == {other.uuid}


class TestGatheringEvents:
    def test_what_one_message_brought_takes_one_turn_of_the_loop_and_is_taken_in_its_order(self) -> None:
        loop, seen = Loop(), list[Any]()
        found = GatheringEvents(None, loop, enable_events=False, max_tasks_in_memory=10)
        found.state = SimpleNamespace(event=lambda event: seen.append(event["n"]))
        for n in range(5):
            found.on_event({"n": n})
        assert (len(loop.due), seen) == (1, [])
        loop.turn()
        found.on_event({"n": 5})
        loop.turn()
        assert seen == list(range(6))

    def test_an_event_that_cannot_be_taken_keeps_none_of_the_later_ones_back(self) -> None:
        loop, seen = Loop(), list[Any]()
        found = GatheringEvents(None, loop, enable_events=False, max_tasks_in_memory=10)
        found.state = SimpleNamespace(event=lambda event: seen.append(event["n"]))
        for event in ({"n": 1}, {}, {"n": 2}):
            found.on_event(event)
        loop.turn()
        assert seen == [1, 2]


class Loop:
    """A loop whose turns the test makes."""

    def __init__(self) -> None:
        self.due: list[Any] = []

    def add_callback(self, callback: Any) -> None:
        self.due.append(callback)

    def turn(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()
