"""A plugin that submits jobs of another one, and has a type of its own."""

from gristmill.plugin import JobRun, job_type
from tests.support.plugins.good import one

__all__ = ["one", "two"]


@job_type("importing.two")
def two(run: JobRun) -> None:
    run.submit(one)
