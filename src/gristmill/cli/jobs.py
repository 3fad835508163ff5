"""gristmill jobs: list, show, wait, cancel, retry; types and submit, for job types of one's own."""

import json
from enum import StrEnum
from itertools import islice
from typing import Annotated, Any

import typer

from gristmill.cli.exits import UsageError, parse_json
from gristmill.cli.session import Session, command, read_text
from gristmill.cli.submit import labels_of
from gristmill.cli.waiting import Timeout, WaitOption, report, wait_of

app = typer.Typer(no_args_is_help=True, help="Submit jobs, look at them, wait for them, cancel and retry them.")

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


@command(app, "types")
def types(session: Session) -> None:
    """List the job types that may be submitted, and the plugins that could not be loaded."""
    found = session.client.job_types()
    if not session.output.json:
        found = [{**one, "arguments": _arguments(one["args"])} for one in found]
    columns = ["name", "title", "queue", "permission", "arguments"]
    session.output.rows(found, columns, "there are no job types: no plugin declares one")
    for plugin in session.client.plugins():
        if plugin["error"] is not None:
            session.output.note(f"the plugin {plugin['name']} ({plugin['named_by']}) was not loaded: {plugin['error']}")


@command(app, "submit")
def submit(
    session: Session,
    type: Annotated[str, typer.Argument(metavar="TYPE", help="As in reports.daily; see gristmill jobs types.")],
    args: Annotated[
        str | None,
        typer.Option("--args", metavar="JSON", help="Arguments: a JSON object, @FILE, or - for standard input."),
    ] = None,
    wait: WaitOption = False,
    timeout: Timeout = None,
    max_attempts: Annotated[int | None, typer.Option(min=1, max=100, help="How often it is tried.")] = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="9 goes first.")] = None,
    label: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="May be given several times.")] = None,
    run_at: Annotated[str | None, typer.Option(metavar="TIME", help="Not before this time (with offset).")] = None,
    delay: Annotated[float | None, typer.Option(metavar="SECONDS", min=0, help="Not before so many seconds.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="Submitting again with the same key and arguments gives the same job.")
    ] = None,
) -> None:
    """Submit a job of a type of your own; with --wait print what its function returned."""
    given = _object(args)
    labels = labels_of(label) or {}
    with session.output.progress("submit") as show:
        job = session.client.submit_job(
            type,
            given,
            max_attempts=max_attempts,
            priority=priority,
            labels=labels or None,
            run_at=run_at,
            delay=delay,
            wait=wait_of(wait, timeout),
            on_progress=show,
            idempotency_key=idempotency_key,
        )
    report(session, job)
    if job["result"] is not None and not session.output.json:
        session.output.line(json.dumps(job["result"], ensure_ascii=False))


def _arguments(schema: dict[str, Any]) -> str:
    """Return the names of the arguments; those that may be left out in brackets."""
    required = schema.get("required", [])
    return " ".join(name if name in required else f"[{name}]" for name in schema.get("properties", {}))


def _object(args: str | None) -> dict[str, Any]:
    found = {} if args is None else parse_json(read_text("-") if args == "-" else args, "--args")
    if not isinstance(found, dict):
        raise UsageError(f"--args is no JSON object: {str(args)[:80]}")
    return found
