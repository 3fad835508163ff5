"""What can go wrong with the services of one machine."""

from gristmill.core.errors import GristmillError


class StackFailed(GristmillError):
    """A service could not be started or stopped; the detail names it and quotes its log."""

    code = "stack_failed"
    kind = "unavailable"
    status = 503
    title = "The services of this machine could not be started"


class StackStopping(StackFailed):
    """The supervisor is stopping everything, and answers nothing else any more."""


class StillStarting(StackFailed):
    """A service that the others need is not ready yet; nothing was stopped."""


class WaitedTooLong(StackFailed):
    """A condition did not hold in time."""
