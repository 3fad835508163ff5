"""The command ``gristmill demo``."""

import shlex
import time
from dataclasses import replace
from pathlib import Path

import typer

from gristmill.cli.demo.stage import Stage
from gristmill.cli.demo.steps import Steps
from gristmill.cli.exits import FAILED
from gristmill.cli.host import show_status, stack_of
from gristmill.cli.session import DEFAULT_DATA, Session, command, stack_url


def add(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "demo", rich_help_panel="This machine")(demo)


def demo(session: Session) -> None:
    """Load real data, search it, show the curl lines. The services stay up; exits with 1 if a step failed.

    Starts the services of this machine, unless --url names a server that runs already. Uses the datasets
    demo_operations and demo_weather.
    """
    began = time.monotonic()
    here = "" if session.data == DEFAULT_DATA else f" --data {shlex.quote(session.data)}"
    where = ["docs:   {url}/docs", f"jobs:   gristmill jobs list{here}"]
    if session.given_url is None:
        stack = stack_of(session)
        status = stack.up()
        show_status(session, replace(status, notes=[]))
        settings = stack.settings()
        session.url = stack_url(session.data) or session.url
        where.append(
            f"Flower: {status.url('flower')} (user {settings.flower_user}, password {settings.flower_password})"
        )
        where += ["figures: {url}/metrics", f"logs:   {stack.folder.logs}"]
        stop = f"gristmill down{here}" if here else "make down, or: gristmill down"
    else:
        stop = ""
    stage = Stage(session.output, session.url, session.has_key)
    Steps(stage, session.client, Path(session.data) / "demo").run()
    failed = [step.title for step in stage.steps if not step.ok]
    session.output.line("")
    session.output.line(
        f"{len(stage.steps) - len(failed)} of {len(stage.steps)} steps done in {time.monotonic() - began:.0f} s"
    )
    for line in where:
        session.output.line("  " + line.format(url=session.url))
    if stop:
        session.output.line(f"Everything is still running. To stop it: {stop}")
    if failed:
        session.output.error(f"failed: {'; '.join(failed)}")
        raise typer.Exit(FAILED)
