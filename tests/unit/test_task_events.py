"""What monitors are told of chunks: the parts that need no broker."""

import uuid
from typing import Any, get_args

import pytest
from celery.events.state import State
from celery.utils.saferepr import saferepr

from gristmill.broker import task_events
from gristmill.broker.members import Member, arguments_of, members_of
from gristmill.broker.task_events import End
from gristmill.jobs.outcome import How

ONE = Member(uuid.UUID(int=1), 0, 1, "weather", 12, "source:demo")
OTHER = Member(uuid.UUID(int=2), 3, 2, None, 0)


class TestMembers:
    def test_a_message_names_what_it_was_made_of(self) -> None:
        args, headers = arguments_of([ONE, OTHER])
        assert members_of(args, headers) == [ONE, OTHER]

    def test_a_message_of_the_version_before_is_understood(self) -> None:
        assert members_of([str(ONE.job_id), 0, 1], {}) == [Member(ONE.job_id, 0, 1)]

    @pytest.mark.parametrize(
        ("args", "headers"),
        [
            ([], {}),
            (["no id", 0, 1], {}),
            ([str(ONE.job_id), 0], {}),
            ([str(ONE.job_id), 0, 1], {"records": [1, 2]}),
            ([7], {}),
            ([str(ONE.job_id), 0, 1], {"datasets": 7}),
        ],
    )
    def test_what_is_not_ours_is_refused(self, args: list[Any], headers: dict[str, Any]) -> None:
        with pytest.raises(ValueError, match="chunk"):
            members_of(args, headers)


class TestEnds:
    def test_the_answer_of_a_process_comes_back_whole_through_the_repr_of_celery(self) -> None:
        ends = [End("done", "", "succeeded", {"succeeded": 12, "rejected": 1}), End("failed", "it's", "failed")] * 40
        assert task_events.unpacked(saferepr(task_events.packed(ends), None)) == [
            End(end.how, end.code.replace("'", ""), end.job, end.counts) for end in ends
        ]

    def test_every_end_has_its_event_but_the_one_that_is_looked_up_later(self) -> None:
        told = {how: task_events.ended(ONE, End(how))[0] for how in get_args(How) if how != "left"}
        assert {how for how, type_ in told.items() if type_ == "task-succeeded"} == {"done"}
        assert {how for how, type_ in told.items() if type_ == "task-failed"} == {"failed"}
        assert {how for how, type_ in told.items() if type_ == "task-revoked"} == {"cancelled", "dropped", "lost"}
        assert {how for how, type_ in told.items() if type_ == "task-retried"} == {"retried", "returned", "drained"}

    def test_a_failure_names_its_code_and_no_traceback(self) -> None:
        type_, fields = task_events.ended(ONE, End("failed", "conflict", "failed"))
        assert type_ == "task-failed"
        assert fields == {
            "uuid": ONE.task_id,
            "result": "failed: conflict; job failed",
            "exception": "conflict",
        }

    def test_a_result_counts_records(self) -> None:
        end = End("done", "", "succeeded", {"succeeded": 5, "rejected": 2})
        assert end.text == "done: 5 succeeded, 2 rejected; job succeeded"


class TestMonitor:
    """Celery's own picture of the tasks, which Flower shows."""

    def see(self, *events: task_events.Event) -> Any:
        state = State()
        for clock, (type_, fields) in enumerate(events):
            about = {"hostname": "w", "timestamp": clock, "local_received": clock, "clock": clock}
            state.event({**about, **fields, "type": type_})
        return state.tasks[ONE.task_id]

    def test_a_stale_message_does_not_undo_what_was_done(self) -> None:
        first = [task_events.received(ONE, "t"), task_events.started(ONE), task_events.ended(ONE, End("done"))]
        again = [task_events.received(ONE, "t"), task_events.started(ONE), task_events.ended(ONE, End("dropped"))]
        assert self.see(*first, *again).state == "SUCCESS"

    def test_a_stale_message_that_overtakes_does_not_hide_what_is_done_later(self) -> None:
        begun = [task_events.received(ONE, "t"), task_events.started(ONE)]
        assert self.see(*begun, task_events.ended(ONE, End("dropped")), task_events.ended(ONE, End("done"))).state == (
            "SUCCESS"
        )

    def test_that_it_was_sent_may_be_heard_last(self) -> None:
        sent = "task-sent", {"uuid": ONE.task_id, **task_events.described(ONE, "t")}
        found = self.see(
            task_events.received(ONE, "t"), task_events.started(ONE), task_events.ended(ONE, End("done")), sent
        )
        assert (found.state, found.name) == ("SUCCESS", "t")
