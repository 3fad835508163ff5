"""The command ``gristmill demo``."""

import shlex
import shutil
import sys
import time
from dataclasses import replace
from pathlib import Path

import typer

from gristmill.cli.demo.stage import Stage
from gristmill.cli.demo.steps import Steps
from gristmill.cli.demo.texts import choose_texts
from gristmill.cli.exits import FAILED
from gristmill.cli.host import show_status, stack_of
from gristmill.cli.session import DEFAULT_DATA, Session, command, stack_url


def add(app: typer.Typer) -> None:
    """Add the command to the root."""
    command(app, "demo", rich_help_panel="This machine")(demo)


def demo(session: Session) -> None:
    """Load real data, search it, show the curl lines. The services stay up; exits with 1 if a step failed.

    Starts the services of this machine, unless --url names a server that runs already. Uses the datasets
    demo_packages (or demo_operations, where apt has no package lists) and demo_weather.
    """
    began = time.monotonic()
    program, here = _program(), "" if session.data == DEFAULT_DATA else f" --data {shlex.quote(session.data)}"
    stack = None if session.given_url else stack_of(session)
    if stack:
        show_status(session, replace(stack.up(), notes=[]))
        session.url = stack_url(session.data) or session.url
    stage = Stage(session.output, session.url, session.has_key)
    steps = Steps(stage, session.client, choose_texts(), Path(session.data) / "demo")
    steps.run()
    failed = [step.title for step in stage.steps if not step.ok]
    line = session.output.line
    line("")
    line(f"{len(stage.steps) - len(failed)} of {len(stage.steps)} steps done in {time.monotonic() - began:.0f} s")
    line(f"  REST:    {session.url}/docs")
    line(f"  jobs:    {program} jobs list{here}")
    line(f"  metrics: {session.url}/metrics")
    if stack:
        settings, flower = stack.settings(), stack.status().url("flower")
        line(f"  Flower:  {flower} (user {settings.flower_user}, password {settings.flower_password})")
        line(f"           the last batch as a task: {flower}/task/{steps.last_job}.0.1")
        line(f"  SQL:     {settings.database_url}")
        line(f"  logs:    {stack.folder.logs}")
        line(f"Everything is still running. To stop it: {program} down{here}")
    if failed:
        session.output.error(f"failed: {'; '.join(failed)}")
        raise typer.Exit(FAILED)


def _program() -> str:
    """Return how this command is called from here: the environment that it is installed in may not be on the PATH."""
    called, found = Path(sys.argv[0]), shutil.which("gristmill")
    if called.name != "gristmill" or (found and called.exists() and Path(found).samefile(called)):
        return "gristmill"
    return shlex.quote(sys.argv[0])
