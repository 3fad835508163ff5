"""The port of sources: a kind is a class with typed settings that reads from a position on.

A kind reads and nothing else. Batches, jobs, positions, leases, waiting and retries are the runner's part. A kind
passes the conformance suite, ``tests/support/source_conformance.py``.
"""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

Position = dict[str, Any] | None
"""Where reading goes on, as JSON of the kind's own making; None at the very beginning."""

Record = Mapping[str, Any]
"""A record as JSON has it: texts, numbers, booleans, None, lists, objects."""


class SourceSettings(BaseModel):
    """What every kind can be told. A batch is submitted when it has ``batch_size`` records or ``batch_seconds`` have
    gone by since its first one, whatever comes first."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)

    batch_size: int = Field(1000, ge=1, le=10_000, description="records of one job at most")
    batch_seconds: float = Field(1.0, ge=0.01, le=3600, description="seconds after which a batch is submitted anyway")


@dataclass(frozen=True, slots=True)
class MalformedItem:
    """An item that is no record. It becomes a reject of the batch's job, and the others go on.

    place: where it stands in the source, in its own words ("partition 2, offset 17"). raw: the item as it came.
    """

    place: str
    raw: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Read:
    """What was read at once. It is submitted as a whole: no batch holds a part of it.

    position: where reading goes on after it. records: at most ``Pace.most`` of them; a table has the fields as columns.
    age: seconds that the oldest of them was ready in the source before it was read, 0 where that is not known.
    """

    position: dict[str, Any]
    records: Sequence[Record] | pa.Table = ()
    malformed: Sequence[MalformedItem] = ()
    age: float = 0.0

    @property
    def items(self) -> int:
        """How many items were read, malformed ones included."""
        return len(self.records) + len(self.malformed)


@dataclass(frozen=True, slots=True)
class Backlog:
    """What a source has ready and was not read yet. seconds: for how long the oldest of it has been ready."""

    records: int = 0
    seconds: float = 0.0


class Pace(Protocol):
    """How long a kind may take: given by the runner, which has batches to submit and may be told to stop."""

    @property
    def most(self) -> int:
        """Records in one read at most."""
        ...

    @property
    def patience(self) -> float:
        """Seconds for which a call may block now: until a batch is due, and at most half a second."""
        ...

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than until a batch is due or the source is to stop."""
        ...


Reader = Generator[Read | None, None, None]
"""Yields what it reads, and None each time when nothing is ready, at the latest after ``Pace.patience`` seconds.

It ends when the source has an end. ``close()``, or an exception of its own, ends it early: what it holds is freed in a
``finally``. A read that was yielded may never be submitted; whoever opens the position before it gets it again.
"""

S = TypeVar("S", bound=SourceSettings)


class SourceKind(ABC, Generic[S]):
    """A kind of sources; an object of it reads for one source, under one lease.

    name, summary: what ``GET /source-kinds`` shows. Settings: the model of its settings, whose defaults may change.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    Settings: ClassVar[type[SourceSettings]]

    def __init__(self, settings: S) -> None:
        self.settings = settings

    @abstractmethod
    def open(self, position: Position, pace: Pace) -> Reader:
        """Read from ``position`` on.

        Raises SourceFailed where trying again cannot help (it stops the source), anything else where it may.
        """

    def sample(self) -> Record | None:
        """Return a record as this source emits them, to be checked against the contract; None where nobody knows."""
        return None

    def backlog(self) -> Backlog:
        """Return what is ready and not read yet; called from another thread, at any time. Nothing, where unknown."""
        return Backlog()
