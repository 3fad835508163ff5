"""A plugin that declares one of Gristmill's own types."""

from gristmill.plugin import JobRun, job_type


@job_type("records.ingest")
def ingest(run: JobRun) -> None: ...
