"""The states of a schedule."""

from enum import StrEnum


class ScheduleState(StrEnum):
    """running: its jobs are submitted when they are due. paused: none is, until it is resumed."""

    RUNNING = "running"
    PAUSED = "paused"


class Overlap(StrEnum):
    """What happens when a run is due and the job before it has not ended: it is submitted all the same, or left out."""

    ALLOW = "allow"
    SKIP = "skip"
