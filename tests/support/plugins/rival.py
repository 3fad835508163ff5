"""A plugin that declares a type which another one has."""

from gristmill.plugin import JobRun, job_type


@job_type("rival.own")
def own(run: JobRun) -> None: ...


@job_type("good.one")
def another(run: JobRun) -> None: ...
