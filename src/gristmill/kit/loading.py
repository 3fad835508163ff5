"""How a process loads its modules: without a look for garbage, for there is none."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """Import modules within it, once in a process and before it starts threads.

    The collector would look through all that is new again and again, a fifth of the time of a start, and find nothing.
    What was loaded stays for as long as the process, so that no later pass looks at it either (``gc.freeze``).
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
