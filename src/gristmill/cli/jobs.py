"""gristmill jobs: list, show, wait, cancel, retry."""

from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer

from gristmill.cli.session import Session, command
from gristmill.cli.waiting import Timeout, WaitOption, report, wait_of

app = typer.Typer(no_args_is_help=True, help="Look at jobs, wait for them, cancel and retry them.")

JobId = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job.")]


# Typer takes lists of enumerations, but not of literals.
State = StrEnum("State", ["scheduled", "queued", "running", "cancelling", "succeeded", "failed", "cancelled"])


@command(app, "list")
def list_jobs(
    session: Session,
    state: Annotated[list[State] | None, typer.Option(help="May be given several times.")] = None,
    type: Annotated[str | None, typer.Option("--type", help="As in records.ingest.")] = None,
    dataset: Annotated[str | None, typer.Option()] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE")] = None,
    created_after: Annotated[str | None, typer.Option(metavar="TIME", help="With offset.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 20,
) -> None:
    """List jobs, newest first."""
    found = session.client.jobs(
        state=[one.value for one in state] if state else None,
        type=type,
        dataset=dataset,
        label=label or None,
        created_after=created_after,
        page_size=min(limit, 1000),
    )
    columns = ["id", "type", "dataset", "state", "progress", "record_counts.total", "created_at"]
    session.output.rows(islice(found, limit), columns, "there are no such jobs")


@command(app, "labels")
def labels(
    session: Session,
    name: Annotated[str | None, typer.Argument(metavar="LABEL", help="This label alone.")] = None,
    dataset: Annotated[str | None, typer.Option()] = None,
    type: Annotated[str | None, typer.Option("--type", help="As in records.ingest.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="Values of each label at most.")] = 20,
) -> None:
    """List the labels that jobs have, with their values and how many jobs have each."""
    found = session.client.labels(dataset=dataset, type=type, name=name, values=limit)["labels"]
    rows = [{"label": label["name"], **value} for label in found for value in label["values"]]
    session.output.rows(rows, ["label", "value", "jobs"], "no job has a label")


@command(app, "show")
def show(session: Session, job: JobId) -> None:
    """Show a job. A failed job is shown like any other, with exit code 0."""
    session.output.thing(session.client.job(job))


@command(app, "wait")
def wait(
    session: Session,
    job: JobId,
    timeout: Annotated[float | None, typer.Option("--timeout", min=0, help="Seconds; then exit with 5.")] = None,
) -> None:
    """Wait until a job is done."""
    with session.output.progress("job") as show:
        found = session.client.wait(job, timeout, show)
    report(session, found)


@command(app, "cancel")
def cancel(session: Session, job: JobId) -> None:
    """Cancel a job: what was not begun never runs, what runs stops at its next step."""
    report(session, session.client.cancel(job))


@command(app, "retry")
def retry(session: Session, job: JobId, wait: WaitOption = False, timeout: Timeout = None) -> None:
    """Run the failed chunks of a job again."""
    with session.output.progress("retry") as show:
        found = session.client.retry(job, wait=wait_of(wait, timeout), on_progress=show)
    report(session, found)
