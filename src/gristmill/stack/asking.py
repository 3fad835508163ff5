"""Asking several services at once, each for a limited time: what does not answer holds nobody up."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def ask_all(questions: Mapping[str, Callable[[], T]], seconds: float) -> dict[str, T]:
    """Return the answers that came within ``seconds``, by the names of the questions.

    Each is asked in a thread of its own. One that does not come back is left behind, and ends with the process.
    """
    answers: dict[str, T] = {}

    def ask(name: str, question: Callable[[], T]) -> None:
        answers[name] = question()

    threads = [threading.Thread(target=ask, args=item, daemon=True) for item in questions.items()]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))
    return dict(answers)
