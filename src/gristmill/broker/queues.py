"""The queues, in one list. A further one is one line: broker, dispatcher, workers, stack and metrics follow it."""

from collections.abc import Sequence
from dataclasses import dataclass

from gristmill.core.config import Settings


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A queue with workers of its own. settings: how the names of the settings of its workers begin."""

    name: str
    settings: str

    def processes(self, settings: Settings) -> int:
        """Return how many chunks a worker of the queue carries out at a time."""
        return int(getattr(settings, f"{self.settings}_processes"))

    def soft_time_limit(self, settings: Settings) -> float:
        """Return the seconds after which a chunk is asked to end."""
        return float(getattr(settings, f"{self.settings}_soft_time_limit"))

    def time_limit(self, settings: Settings) -> float:
        """Return the seconds after which the process of a chunk is killed."""
        return float(getattr(settings, f"{self.settings}_time_limit"))


# The first is that of jobs which name none.
QUEUES: Sequence[QueueSpec] = (
    QueueSpec("default", "worker"),
    QueueSpec("long", "worker_long"),
)
DEFAULT_QUEUE = QUEUES[0].name


def queue_names() -> list[str]:
    return [queue.name for queue in QUEUES]


def find_queue(name: str) -> QueueSpec:
    """Return the queue called ``name``. Raises ValueError that names those there are."""
    for queue in QUEUES:
        if queue.name == name:
            return queue
    raise ValueError(f"there is no queue {name!r}; the queues are: {', '.join(queue_names())}")
