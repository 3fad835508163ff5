"""The states of a source."""

from enum import StrEnum


class SourceState(StrEnum):
    """running: it is read, or waits for a runner. paused: until it is resumed. failed: it cannot go on by itself.
    finished: it has come to its end."""

    RUNNING = "running"
    PAUSED = "paused"
    FAILED = "failed"
    FINISHED = "finished"
