"""A plugin of one job type."""

from gristmill.plugin import JobRun, job_type


@job_type("good.one")
def one(run: JobRun) -> None:
    """Does nothing."""
