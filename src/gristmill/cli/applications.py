"""gristmill app: programs of your own beside the stack of this machine."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gristmill.cli.exits import UsageError
from gristmill.cli.session import Session, command

if TYPE_CHECKING:
    from gristmill.stack import Guests

app = typer.Typer(no_args_is_help=True, help="Applications beside the stack: started, watched and stopped with it.")

Name = Annotated[str, typer.Argument(metavar="NAME", help="What it is called in `gristmill status` and its log.")]


@command(app, "start")
def start(
    session: Session,
    name: Name,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A Python file that listens on the port PORT.")],
    port: Annotated[int, typer.Option("--port", help="It is given as the variable PORT.")],
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="A variable more; may be given often.")
    ] = None,
) -> None:
    """Start a program and wait until it answers. It gets PORT, GRISTMILL_URL and GRISTMILL_API_KEY."""
    pairs = [text.partition("=") for text in env or ()]
    for variable, equals, _ in pairs:
        if not equals or not variable:
            raise UsageError(f"--env {variable}: expected NAME=VALUE")
    url = _guests(session).start(name, file, port, {variable: value for variable, _, value in pairs})
    session.output.line(f"ready {url}")
    if session.output.json:
        session.output.document({"name": name, "url": url})


@command(app, "stop")
def stop(session: Session, name: Name) -> None:
    """Stop an application; it does not come back with the stack."""
    _guests(session).stop(name)
    session.output.line(f"stopped {name}")
    if session.output.json:
        session.output.document({"name": name, "stopped": True})


def _guests(session: Session) -> "Guests":
    from gristmill.core.config import load_settings
    from gristmill.stack import Guests

    return Guests(load_settings(stack_data=session.data))
