"""gristmill schedules: create, list, show, change, pause, resume, run, delete."""

from itertools import islice
from typing import Annotated, Any

import typer

from gristmill.cli.exits import parse_json
from gristmill.cli.session import Session, command
from gristmill.cli.submit import labels_of

app = typer.Typer(no_args_is_help=True, help="Schedules: jobs that are submitted at their times.")

Name = Annotated[str, typer.Argument(metavar="SCHEDULE", help="Name of the schedule.")]
Args = Annotated[str | None, typer.Option("--args", metavar="JSON", help="Arguments of its jobs, or @FILE.")]
Cron = Annotated[str | None, typer.Option("--cron", help="Times, such as '30 6 * * MON-FRI'.")]
Every = Annotated[str | None, typer.Option("--every", help="Interval, such as 15m, 1d or 1mo, instead of --cron.")]
Zone = Annotated[str | None, typer.Option("--zone", help="Time zone, such as Europe/Berlin; UTC without it.")]
Start = Annotated[str | None, typer.Option("--start", help="RFC 3339 time: nothing runs before it.")]
Overlap = Annotated[str | None, typer.Option("--overlap", help="skip: not while the job before has not ended.")]
Attempts = Annotated[int | None, typer.Option("--max-attempts", min=1, help="How often a job is tried.")]
Label = Annotated[list[str] | None, typer.Option("--label", metavar="NAME=VALUE", help="Of its jobs; repeatable.")]
Priority = Annotated[int | None, typer.Option("--priority", min=0, max=9, help="Of its jobs; 9 goes first.")]


@command(app, "create")
def create(
    session: Session,
    name: Name,
    type_: Annotated[str, typer.Option("--type", "-t", help="Job type: one of `gristmill jobs types`.")],
    args: Args = None,
    cron: Cron = None,
    every: Every = None,
    zone: Zone = None,
    start: Start = None,
    overlap: Overlap = None,
    max_attempts: Attempts = None,
    label: Label = None,
    priority: Priority = None,
    paused: Annotated[bool, typer.Option("--paused", help="It waits to be resumed.")] = False,
) -> None:
    """Create a schedule, and show its next runs."""
    made = session.client.create_schedule(
        name,
        type_,
        _args(args),
        cron=cron,
        every=every,
        zone=zone,
        start=start,
        overlap=overlap,
        max_attempts=max_attempts,
        labels=labels_of(label),
        priority=priority,
        paused=paused,
    )
    session.output.thing(made)


@command(app, "list")
def list_schedules(
    session: Session,
    type_: Annotated[str | None, typer.Option("--type", "-t", help="Of jobs of this type only.")] = None,
    state: Annotated[str | None, typer.Option("--state", help="running or paused.")] = None,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many at most.")] = 100,
) -> None:
    """List schedules in the order of their names."""
    found = (
        {**one, "next_run": next(iter(one["next_runs"]), None)}
        for one in session.client.schedules(type=type_, state=state)
    )
    columns = ["name", "type", "words", "zone", "state", "next_run", "runs", "last_job"]
    session.output.rows(islice(found, limit), columns, "there are no schedules")


@command(app, "show")
def show(session: Session, name: Name) -> None:
    """Show a schedule: next runs, last job, and why it is paused."""
    session.output.thing(session.client.schedule(name))


@command(app, "change")
def change(
    session: Session,
    name: Name,
    args: Args = None,
    cron: Cron = None,
    every: Every = None,
    zone: Zone = None,
    start: Start = None,
    overlap: Overlap = None,
    max_attempts: Attempts = None,
    label: Label = None,
    priority: Priority = None,
) -> None:
    """Change the times of a schedule, or what its jobs have. What is not given stays."""
    found = session.client.change_schedule(
        name,
        args=_args(args),
        cron=cron,
        every=every,
        zone=zone,
        start=start,
        overlap=overlap,
        max_attempts=max_attempts,
        labels=labels_of(label),
        priority=priority,
    )
    session.output.thing(found)


@command(app, "pause")
def pause(session: Session, name: Name) -> None:
    """Pause a schedule: it submits nothing until it is resumed."""
    session.output.thing(session.client.pause_schedule(name))


@command(app, "resume")
def resume(session: Session, name: Name) -> None:
    """Let a schedule go on, from its first time after now."""
    session.output.thing(session.client.resume_schedule(name))


@command(app, "run")
def run(
    session: Session,
    name: Name,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the job has ended.")] = False,
) -> None:
    """Submit a job of a schedule now; its next run stays when it is."""
    session.output.thing(session.client.run_schedule(name, wait=wait))


@command(app, "delete")
def delete(session: Session, name: Name) -> None:
    """Delete a schedule. Its jobs stay."""
    session.client.delete_schedule(name)
    session.output.thing({"schedule": name, "deleted": True})


def _args(text: str | None) -> dict[str, Any] | None:
    found: dict[str, Any] | None = None if text is None else parse_json(text, "--args")
    return found
