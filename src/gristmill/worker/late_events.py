"""Events of chunks whose process said nothing: found by the maintenance thread, sent by the parent's own loop."""

from collections.abc import Mapping
from queue import SimpleQueue

from gristmill.bootstrap.worker import Lost
from gristmill.broker import task_events
from gristmill.jobs.handlers import Outcome
from gristmill.jobs.outcome import Ended
from gristmill.jobs.repository.claim import Address

# Only the thread of the loop may use the connection that events go through.
waiting: SimpleQueue[task_events.Event] = SimpleQueue()


def tell_late(message: Lost, ends: Mapping[Address, Ended]) -> None:
    """Keep the events of those chunks of a message that have ended until the loop fetches them."""
    _, members = message
    for member in members:
        if (ended := ends.get(member.address)) is not None:
            waiting.put(task_events.ended(member, end_of(ended)))


def end_of(ended: Ended) -> task_events.End:
    """Return what monitors are told of how a chunk ended."""
    return task_events.End(ended.how, ended.code, ended.job or "", _counts(ended.outcome))


def _counts(outcome: Outcome | None) -> dict[str, int]:
    if outcome is None:
        return {}
    counted = {
        "succeeded": outcome.succeeded,
        "rejected": outcome.rejected,
        "superseded": outcome.superseded,
        "dropped": outcome.dropped,
    }
    return {name: number for name, number in counted.items() if number or name == "succeeded"}
