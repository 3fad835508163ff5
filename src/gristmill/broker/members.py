"""The chunks that a message names, as the dispatcher writes them and a worker reads them."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Member:
    """One chunk of a message. dataset, records, by (who submitted it): for people who look at tasks; None where the
    message does not say."""

    job_id: uuid.UUID
    number: int
    dispatch: int
    dataset: str | None = None
    records: int | None = None
    by: str | None = None

    @property
    def address(self) -> tuple[uuid.UUID, int, int]:
        """What the claim asks for: job, chunk number, dispatch number."""
        return self.job_id, self.number, self.dispatch

    @property
    def task_id(self) -> str:
        """The id of this attempt in Celery and Flower."""
        return f"{self.job_id}.{self.number}.{self.dispatch}"

    @property
    def args_text(self) -> str:
        """The arguments as monitors show them."""
        return f"('{self.job_id}', {self.number}, {self.dispatch})"

    @property
    def kwargs_text(self) -> str:
        """The keyword arguments as monitors show them: a literal, so that Flower finds ``kwargs:dataset=NAME``."""
        return repr({"dataset": self.dataset, "chunk": self.number, "records": self.records, "by": self.by})


def arguments_of(members: Sequence[Member]) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments and the headers of the message for these chunks.

    What is for people is in the headers: a worker of the version before would refuse arguments that it does not know.
    """
    args = [part for one in members for part in (str(one.job_id), one.number, one.dispatch)]
    return args, {
        "datasets": [one.dataset for one in members],
        "records": [one.records for one in members],
        "submitted_by": [one.by for one in members],
    }


def members_of(args: Sequence[Any], headers: Mapping[str, Any]) -> list[Member]:
    """Return the chunks that a message names. Raises ValueError if it is none of ours.

    A message of the version before has nothing for people in its headers; it may still wait in a queue.
    """
    try:
        addresses = [(uuid.UUID(args[n]), int(args[n + 1]), int(args[n + 2])) for n in range(0, len(args), 3)]
        count = len(addresses)
        datasets = headers.get("datasets") or [None] * count
        records = headers.get("records") or [None] * count
        by = headers.get("submitted_by") or [None] * count
        about = zip(addresses, datasets, records, by, strict=True)
        members = [Member(*address, *more) for address, *more in about]
    except (IndexError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not the arguments of a message of chunks: {error}") from error
    if not members:
        raise ValueError("a message that names no chunk")
    return members
