"""The command ``gristmill``: puts the groups together.

Exit codes are listed in ``cli/exits.py`` and in the help text.
"""

from typing import Annotated

import typer

from gristmill import __version__
from gristmill.cli import (
    aggregate,
    applications,
    datasets,
    export,
    exports,
    host,
    images,
    index,
    jobs,
    load,
    pipeline,
    records,
    rejects,
    schedules,
    search,
    sources,
    submit,
    view,
)
from gristmill.cli.demo import command as demo
from gristmill.cli.session import Session, command
from gristmill.client import ConnectionFailed

_EPILOG = (
    "Exit codes: 0 done; 1 the job failed or was cancelled; 2 wrong command line; 3 refused (HTTP 4xx); "
    "4 not reachable or not able right now (HTTP 429, 5xx); 5 not done within --timeout."
)

app = typer.Typer(
    name="gristmill",
    no_args_is_help=True,
    help="Batches in over REST; typed, embedded, searchable rows out in Postgres.",
    epilog=_EPILOG,
    pretty_exceptions_show_locals=False,
)
app.add_typer(applications.app, name="app", rich_help_panel="This machine")
app.add_typer(datasets.app, name="datasets")
submit.add(app)
load.add(app)
rejects.add(app)
export.add(app)
aggregate.add(app)
app.add_typer(exports.app, name="exports")
app.add_typer(images.app, name="images")
app.add_typer(index.app, name="index")
app.add_typer(jobs.app, name="jobs")
app.add_typer(pipeline.app, name="pipeline")
app.add_typer(records.app, name="records")
search.add(app)
view.add(app)
app.add_typer(sources.app, name="sources")
# The name of other groups is a plural; this one is called by both.
app.add_typer(sources.app, name="source", hidden=True)
app.add_typer(schedules.app, name="schedules")
app.add_typer(schedules.app, name="schedule", hidden=True)
host.add(app)
demo.add(app)


@command(app, "version")
def version(session: Session) -> None:
    """Show the version of this command and of the server, if one answers."""
    try:
        server = session.client.version()
    except ConnectionFailed:
        server = None
    session.output.thing({"gristmill": __version__, "url": session.url, "server": server})


@app.callback(invoke_without_command=True)
def _root(
    show_version: Annotated[bool, typer.Option("--version", help="Show this command's version.")] = False,
) -> None:
    if show_version:
        typer.echo(__version__)
        raise typer.Exit


if __name__ == "__main__":
    app()
