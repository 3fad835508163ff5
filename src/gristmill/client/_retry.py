"""When a call is made again, and after how long."""

import random
from dataclasses import dataclass


@dataclass(frozen=True)
class Retry:
    """How calls are repeated that got no answer, or 429, 502, 503 or 504.

    attempts: calls in all; 1 means never to repeat.
    first_delay: seconds before the second attempt; each further delay is twice as long.
    longest_delay: seconds that a delay grows to.
    longest_retry_after: a server that asks for more seconds than this is not waited for.
    """

    attempts: int = 6
    first_delay: float = 0.2
    longest_delay: float = 10.0
    longest_retry_after: float = 60.0

    def delay(self, attempt: int, retry_after: float | None = None) -> float | None:
        """Return the seconds to wait after the failed ``attempt`` (from 1), or None to give up."""
        if attempt >= self.attempts:
            return None
        if retry_after is not None and retry_after > self.longest_retry_after:
            return None
        grown: float = min(self.longest_delay, self.first_delay * 2 ** (attempt - 1))
        # Half of the delay is random, so that clients that failed at the same time do not repeat at the same time.
        jittered = grown * random.uniform(0.5, 1.0)
        return max(jittered, retry_after or 0.0)


REPEATED_STATUSES = frozenset({429, 502, 503, 504})
