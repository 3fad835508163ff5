"""What Celery's task events say of a chunk: its type, its arguments, how it ended and why; never a record's value.

A chunk is a task of its own in every monitor, whether it travelled alone or with others.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from gristmill.broker.members import Member

Event = tuple[str, dict[str, Any]]
"""A type of Celery's task events, and its fields."""

_TYPES: Final[Mapping[str, str]] = {
    "done": "task-succeeded",
    "failed": "task-failed",
    "cancelled": "task-revoked",
    # Another message, or another worker, has the chunk: this one changed nothing.
    "dropped": "task-revoked",
    "lost": "task-revoked",
    # The chunk comes again, in another message and so under another id.
    "retried": "task-retried",
    "returned": "task-retried",
    "drained": "task-retried",
}
_EXPLAINED: Final[Mapping[str, str]] = {
    "dropped": "dropped: the message was stale",
    "lost": "lost: another worker has the chunk",
    "returned": "returned: a job before it has not ended",
    "drained": "drained: the worker shuts down",
}


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt at a chunk ended. code: the job's error code. job: the job's end state, if it ended with it.

    counts: of its records, by what became of them.
    """

    how: str
    code: str = ""
    job: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The result that monitors show."""
        text = _EXPLAINED.get(self.how, self.how)
        if self.code:
            text += f": {self.code}"
        if self.counts:
            text += ": " + ", ".join(f"{number} {name}" for name, number in self.counts.items())
        return f"{text}; job {self.job}" if self.job else text


def packed(ends: Sequence[End]) -> str:
    """Return the ends as a pool process answers them to its parent: JSON without an apostrophe.

    Celery passes a result on as its ``repr``, which for such a text is the text in apostrophes.
    """
    return json.dumps([[end.how, end.code, end.job, end.counts] for end in ends], separators=(",", ":")).replace(
        "'", ""
    )


def unpacked(result: str) -> list[End]:
    """Return the ends from what the parent got. Raises ValueError if it is nothing that ``packed`` has made."""
    found = json.loads(result.removeprefix("'").removesuffix("'"))
    return [End(*each) for each in found]


def received(member: Member, type_: str) -> Event:
    return "task-received", {"uuid": member.task_id, **described(member, type_)}


def described(member: Member, type_: str) -> dict[str, Any]:
    """Return the fields that name a task, as Celery's own event has them."""
    return {
        "name": type_,
        "args": member.args_text,
        "kwargs": member.kwargs_text,
        "root_id": member.task_id,
        "parent_id": None,
        "retries": 0,
        "eta": None,
        "expires": None,
    }


def started(member: Member) -> Event:
    return "task-started", {"uuid": member.task_id}


def ended(member: Member, end: End, runtime: float | None = None) -> Event:
    """Return the event for how it ended. runtime: seconds; chunks of one message have that of the message."""
    type_ = _TYPES[end.how]
    fields: dict[str, Any] = {"uuid": member.task_id, "result": end.text}
    if type_ == "task-succeeded":
        fields["runtime"] = runtime
    elif type_ == "task-revoked":
        fields |= {"terminated": False, "signum": None, "expired": False}
    else:
        fields["exception"] = end.code or end.how
    return type_, fields
