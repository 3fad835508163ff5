"""Commands that act on this machine: up, down, status, migrate, sql-url, keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gristmill.cli.session import Session, command
from gristmill.client import Client, ClientError, Retry

if TYPE_CHECKING:
    from gristmill.core.config import Settings
    from gristmill.core.database import Database
    from gristmill.stack import Stack, StackStatus

keys = typer.Typer(no_args_is_help=True, help="API keys, kept hashed in this host's database.")


Permission = Literal["read", "write", "admin"]


def add(app: typer.Typer) -> None:
    """Add the commands to the root."""
    for name, function in _COMMANDS.items():
        command(app, name, rich_help_panel="This machine")(function)
    app.add_typer(keys, name="keys", rich_help_panel="This machine")


def up(
    session: Session,
    foreground: Annotated[
        bool, typer.Option("--foreground", help="Stay until Ctrl-C or SIGTERM, and stop everything then.")
    ] = False,
) -> None:
    """Start Postgres, a broker, dispatcher, API, workers, source runner and Flower here; exit with 4 if one is late."""
    stack = stack_of(session)

    def show(found: "StackStatus") -> None:
        # The notes of the start have been told while it went on.
        show_status(session, replace(found, notes=[]))
        _note_plugins(session, found.url("api"))
        session.output.line("Ctrl-C stops it" if foreground else "gristmill down stops it")

    if foreground:
        stack.foreground(show)
        return
    found = stack.up()
    show(found)
    if not found.ok:
        raise typer.Exit(4)


def down(session: Session) -> None:
    """Stop everything that `gristmill up` has started; the data stays."""
    stack_of(session).down()
    session.output.line("stopped")
    if session.output.json:
        session.output.document({"ok": True})


def status(session: Session) -> None:
    """Show the services of this machine; exit with 4 unless all of them run and answer."""
    found = stack_of(session).status()
    show_status(session, found)
    if not found.ok:
        raise typer.Exit(4)


def migrate(session: Session) -> None:
    """Bring the database's schema to this version."""
    from gristmill.core.migrate import upgrade

    upgrade(_settings(session).database_url)
    session.output.line("the schema is up to date")
    if session.output.json:
        session.output.document({"ok": True})


def sql_url(
    session: Session,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Of a role that reads the datasets' tables and may do nothing else.")
    ] = False,
) -> None:
    """Print the URL of the database, with its password, for psql and other tools: psql "$(gristmill sql-url)"."""
    from gristmill.access.readers import read_only_url

    if read_only:
        with _database(session) as database:
            url = read_only_url(database)
    else:
        url = _settings(session).database_url
    if session.output.json:
        session.output.document({"url": url, "read_only": read_only})
        return
    # The URL alone goes to standard output, so that a script can take it.
    session.output.line(url)


_COMMANDS = {"up": up, "down": down, "status": status, "migrate": migrate, "sql-url": sql_url}


@command(keys, "create")
def create_key(
    session: Session,
    name: Annotated[str, typer.Argument(help="What the key is called in lists and logs.")],
    permission: Annotated[Permission, typer.Option(help="Each permission includes the ones before it.")] = "write",
    scope: Annotated[Permission | None, typer.Option(help="Old name of --permission.", hidden=True)] = None,
) -> None:
    """Create a key and print it. It is shown this one time."""
    from gristmill.access import keys as store

    if scope is not None:
        session.output.note("--scope is now called --permission; the old name goes away in the next release")
        permission = scope
    with _database(session) as database:
        token = store.create_key(database, name, permission)
    if session.output.json:
        session.output.document({"name": name, "scope": permission, "key": token})
        return
    # The key alone goes to standard output, so that a script can catch it.
    session.output.line(token)
    session.output.note(f"key {name} with the permission {permission}; it cannot be shown again")


@command(keys, "list")
def list_keys(session: Session) -> None:
    """List the keys: names, permissions (`scope`), and when they were made and revoked."""
    from gristmill.access import keys as store

    with _database(session) as database:
        found = store.list_keys(database)
    session.output.rows([_shown(key) for key in found], empty="there are no keys")


def _shown(key: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in key.items()}


@command(keys, "revoke")
def revoke_key(session: Session, name: Annotated[str, typer.Argument(help="Name of the key.")]) -> None:
    """Revoke a key; it is refused from now on."""
    from gristmill.access import keys as store

    with _database(session) as database:
        store.revoke_key(database, name)
    session.output.line(f"revoked {name}")
    if session.output.json:
        session.output.document({"name": name, "revoked": True})


def stack_of(session: Session) -> "Stack":
    """Return the stack of this machine, telling what it does on standard error."""
    from gristmill.core.config import load_settings
    from gristmill.stack import Stack

    return Stack(load_settings(stack_data=session.data), say=session.output.note)


def show_status(session: Session, found: "StackStatus") -> None:
    """Print the services and their addresses."""
    if session.output.json:
        session.output.document(found.as_json())
        return
    for note in found.notes:
        session.output.note(note)
    rows = [
        {
            "service": service.name,
            "state": service.state,
            "ready": service.ready,
            "pid": service.pid,
            "up": None if service.uptime is None else f"{service.uptime:.0f} s",
            "address": service.url,
            "log": service.log,
        }
        for service in found.services
    ]
    session.output.rows(rows, empty="nothing runs here")
    for service in found.services:
        if service.password_file is not None:
            session.output.line(
                f"{service.name}: {service.url}, user {service.user}, password in {service.password_file}"
            )


def _note_plugins(session: Session, url: str | None) -> None:
    """Tell of plugins that could not be loaded; nothing where the API does not answer, or wants another key."""
    if url is None:
        return
    with Client(url, session.api_key, retry=Retry(attempts=1)) as client:
        try:
            failed = [one for one in client.plugins() if one["error"] is not None]
        except ClientError:
            return
    for one in failed:
        session.output.note(f"the plugin {one['name']} ({one['named_by']}) was not loaded: {one['error']}")


def _settings(session: Session) -> "Settings":
    """Return the settings of the stack in the data folder, or those of this host where none was started."""
    from gristmill.core.config import load_settings
    from gristmill.stack.layout import DataFolder

    if DataFolder(session.data).remembered() is None:
        return load_settings()
    return stack_of(session).settings()


@contextmanager
def _database(session: Session) -> "Iterator[Database]":
    from gristmill.core.database import Database

    settings = _settings(session)
    database = Database(settings.database_url, "gristmill-cli", 1, settings.database_statement_timeout)
    try:
        yield database
    finally:
        database.close()
