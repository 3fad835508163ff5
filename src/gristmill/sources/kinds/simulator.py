"""The simulator: emits one record of random numbers after each interval."""

import hashlib
import secrets
import time
import uuid
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gristmill.sources.port import Backlog, Pace, Position, Read, Reader, SourceKind, SourceSettings

# Seconds between two looks at the clock: a shorter interval makes several records at a time, each with its own moment.
TICK = 0.01
# Seconds between two comparisons with the time of day, and the difference from which on it is followed.
LOOK_EVERY, LEAST_STEP = 1.0, 0.05
# Values are 10.00 to 100.00 in steps of a hundredth.
_LOWEST, _STEPS = 1000, 9001


class SimulatorFields(BaseModel):
    """What the three fields of a record are called, so that any dataset fits."""

    model_config = ConfigDict(extra="forbid", strict=True)

    timestamp: str = Field("timestamp", min_length=1, max_length=48, description="the moment of the record, UTC")
    id: str = Field("id", min_length=1, max_length=48, description="a random UUID")
    value: str = Field("value", min_length=1, max_length=48, description="uniform between 10 and 100, two decimals")

    @model_validator(mode="after")
    def _differ(self) -> "SimulatorFields":
        if len({self.timestamp, self.id, self.value}) < 3:
            raise ValueError("the three fields need three names")
        return self


class SimulatorSettings(SourceSettings):
    """Settings of the simulator."""

    interval: float = Field(1.0, ge=0.001, le=86_400, description="seconds between two records")
    batch_size: int = Field(10, ge=1, le=10_000, description="records of one job at most")
    batch_seconds: float = Field(30.0, ge=0.01, le=3600, description="seconds after which a batch is submitted anyway")
    fields: SimulatorFields = Field(default_factory=SimulatorFields, description="names of the fields")
    seed: int | None = Field(
        None, ge=0, lt=2**63, description="the same ids and values each time; other ones without it"
    )
    limit: int | None = Field(None, ge=1, lt=2**53, description="ends after so many records")


class Simulator(SourceKind[SimulatorSettings]):
    """Emits ``timestamp``, ``id`` and ``value``. Its position is how many records it has emitted.

    The first record is due an interval after it is opened, the n-th n intervals after it. Those that are overdue, as
    the batches before had to wait, follow at once, each with the moment at which it was due. While it is paused it
    emits nothing.
    """

    name = "simulator"
    summary = "Emits one record after each interval: a timestamp, a random UUID and a random value."
    Settings = SimulatorSettings

    def __init__(self, settings: SimulatorSettings) -> None:
        super().__init__(settings)
        seed = secrets.token_bytes(16) if settings.seed is None else settings.seed.to_bytes(8, "big")
        self._hash = hashlib.blake2b(digest_size=24, key=seed)
        self._opened: float | None = None
        self._first = self._emitted = 0

    def open(self, position: Position, pace: Pace) -> Reader:
        self._first = self._emitted = count = 0 if position is None else int(position["count"])
        self._opened = opened = time.monotonic()
        interval, limit = self.settings.interval, self.settings.limit
        offset, looked = _wall_clock(), opened
        while limit is None or count < limit:
            now = time.monotonic()
            due = opened + (count - self._first + 1) * interval
            if due > now:
                pace.wait(max(due - now, TICK))
                yield None
                continue
            if now - looked >= LOOK_EVERY:
                offset, looked = _followed(offset), now
            record = self._record(count, offset + due)
            self._emitted = count = count + 1
            yield Read({"count": count}, (record,), age=now - due)

    def sample(self) -> dict[str, Any]:
        return self._record(0, time.time())

    def backlog(self) -> Backlog:
        if self._opened is None:
            return Backlog()
        passed = time.monotonic() - self._opened
        due = self._first + int(passed / self.settings.interval)
        if self.settings.limit is not None:
            due = min(due, self.settings.limit)
        records = max(0, due - self._emitted)
        seconds = passed - (self._emitted - self._first + 1) * self.settings.interval if records else 0.0
        return Backlog(records, max(0.0, seconds))

    def _record(self, number: int, moment: float) -> dict[str, Any]:
        """Return a record; all but its moment follows from the seed and its number."""
        drawn = self._hash.copy()
        drawn.update(number.to_bytes(8, "big"))
        random = drawn.digest()
        names = self.settings.fields
        return {
            names.timestamp: datetime.fromtimestamp(moment, UTC).isoformat(timespec="microseconds"),
            names.id: str(uuid.UUID(bytes=random[:16], version=4)),
            names.value: (_LOWEST + int.from_bytes(random[16:], "big") % _STEPS) / 100,
        }


def _wall_clock() -> float:
    """Return what is added to the monotonic clock to have the time of day."""
    return time.time() - time.monotonic()


def _followed(offset: float) -> float:
    """Return ``offset``, or what it is now if the clock was set. Small differences would put records out of order."""
    found = _wall_clock()
    return found if abs(found - offset) > LEAST_STEP else offset
