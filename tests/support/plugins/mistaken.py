"""A plugin whose declaration is not valid."""

from gristmill.plugin import JobRun, job_type


@job_type("mistaken.one", queue="fast")
def one(run: JobRun) -> None: ...
