"""The states of jobs and chunks, and which changes are allowed. docs/job_states.md and the CHECK constraints agree.

Each statement of the repository says in its WHERE from which states it starts. The databases of the tests have triggers
that refuse every other change, so that no test passes beside one (tests/support/transitions.py).
"""

from enum import StrEnum


class JobState(StrEnum):
    SCHEDULED = "scheduled"  # its run_at is in the future; it has no number yet
    QUEUED = "queued"  # no chunk has been claimed yet
    RUNNING = "running"  # at least one chunk has been claimed
    CANCELLING = "cancelling"  # cancel was asked for while chunks were running
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class ChunkState(StrEnum):
    WAITING = "waiting"  # to be dispatched once run_at is reached and its order allows
    SENT = "sent"  # a message with the current dispatch number was or is being published
    RUNNING = "running"  # claimed: holds a fence and a lease
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


UNFINISHED_JOB_STATES = (JobState.SCHEDULED, JobState.QUEUED, JobState.RUNNING, JobState.CANCELLING)
FINISHED_JOB_STATES = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)

JOB_TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    JobState.SCHEDULED: frozenset({JobState.QUEUED, JobState.CANCELLED}),
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLING, JobState.CANCELLED}),
    JobState.CANCELLING: frozenset({JobState.CANCELLED, JobState.SUCCEEDED, JobState.FAILED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset(),
}
CHUNK_TRANSITIONS: dict[ChunkState, frozenset[ChunkState]] = {
    ChunkState.WAITING: frozenset({ChunkState.SENT, ChunkState.CANCELLED}),
    ChunkState.SENT: frozenset({ChunkState.RUNNING, ChunkState.WAITING, ChunkState.CANCELLED}),
    ChunkState.RUNNING: frozenset({ChunkState.DONE, ChunkState.FAILED, ChunkState.CANCELLED, ChunkState.WAITING}),
    ChunkState.DONE: frozenset(),
    ChunkState.FAILED: frozenset({ChunkState.WAITING}),
    ChunkState.CANCELLED: frozenset({ChunkState.WAITING}),
}


def sql_list(states: tuple[StrEnum, ...]) -> str:
    """Return the states as the inside of an SQL IN (…); they are constants of this file, never input."""
    return ", ".join(f"'{state.value}'" for state in states)
