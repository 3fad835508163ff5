"""Errors of the job domain, and the signals that end a handler early without being failures."""

from gristmill.core.errors import Conflict, GristmillError, Invalid, NotFound


class UnknownJob(NotFound):
    code = "unknown_job"
    title = "Unknown job"


class UnknownJobType(GristmillError):
    """A chunk names a job type that this worker does not know: it is older than the API. No attempt is counted."""

    code = "unknown_job_type"
    kind = "unavailable"
    status = 503
    title = "Unknown job type"
    retryable = True
    costs_attempt = False


class ArgumentsNotUnderstood(GristmillError):
    """The arguments of a job do not fit its type as this worker has it, which is of another version."""

    code = "unknown_arguments"
    kind = "unavailable"
    status = 503
    title = "The worker does not understand the arguments"
    retryable = True
    costs_attempt = False


class ResultNotStorable(GristmillError):
    """A function returned what cannot be the result of a job."""

    code = "bad_result"
    title = "The result cannot be stored"


class TransactionEnded(GristmillError):
    """A function committed or rolled back the transaction that belongs to its job, or left one open."""

    code = "transaction_ended"
    title = "The job's transaction is not the function's to end"


class NotCancellable(Conflict):
    code = "not_cancellable"
    title = "The job has finished"


class NotRetryable(Conflict):
    code = "not_retryable"
    title = "The job cannot be retried"


class IdempotencyKeyReused(Invalid):
    code = "idempotency_key_reused"
    title = "The Idempotency-Key was used for another request"


class AttemptsExhausted(GristmillError):
    """The chunk killed or lost its worker at each attempt."""

    code = "attempts_exhausted"
    kind = "internal"
    title = "The worker was lost at every attempt"


class TimeLimitExceeded(GristmillError):
    code = "time_limit"
    kind = "internal"
    title = "The time limit was exceeded"
    retryable = True


class Signal(Exception):
    """Root of what ends a handler early on purpose."""


class JobCancelled(Signal):
    """Somebody asked to cancel the job."""


class JobDropped(Signal):
    """What the job is about is gone; the chunk ends ``cancelled`` with this reason."""


class Drained(Signal):
    """The worker is shutting down: the chunk goes back and the attempt is not counted."""


class LostChunk(Signal):
    """The chunk is no longer this worker's: its lease expired and somebody else has a newer fence."""


class OutOfDate(Signal):
    """What the chunk was prepared from has changed since: it is prepared again, with no lock held meanwhile."""
