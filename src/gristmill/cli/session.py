"""What every client command has: the server's address, the key, the output, and the exit codes."""

import functools
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from gristmill.cli.exits import exit_codes
from gristmill.cli.output import Output
from gristmill.client import Client, Retry

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_DATA = ".gristmill"
# Somebody is looking at the screen: less than two seconds until "not reachable".
_RETRY = Retry(attempts=4)

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="GRISTMILL_URL",
        help=f"Address of the server. Default: the stack started in this folder, else {DEFAULT_URL}.",
        rich_help_panel="Connection",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", envvar="GRISTMILL_API_KEY", help="API key.", rich_help_panel="Connection"),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        envvar="GRISTMILL_STACK_DATA",
        help="Data folder of the stack of this machine.",
        rich_help_panel="Connection",
    ),
]
Json = Annotated[
    bool, typer.Option("--json", help="Print JSON to standard output and nothing else; a list is one line per item.")
]
_COMMON: dict[str, tuple[Any, Any]] = {
    "as_json": (Json, False),
    "url": (Url, None),
    "api_key": (ApiKey, None),
    "data": (Data, DEFAULT_DATA),
}


class Session:
    """One run of one command."""

    def __init__(self, as_json: bool, url: str | None, api_key: str | None, data: str) -> None:
        self.output = Output(as_json)
        self.data = data
        self.given_url = url
        self.url = url or stack_url(data) or DEFAULT_URL
        self._api_key = api_key
        self._client: Client | None = None

    @property
    def api_key(self) -> str | None:
        return self._api_key

    @property
    def has_key(self) -> bool:
        return self._api_key is not None

    @property
    def client(self) -> Client:
        """The client, connected at its first use."""
        if self._client is None:
            self._client = Client(self.url, self._api_key, retry=_RETRY)
        return self._client

    def close(self) -> None:
        if self._client is not None:
            self._client.close()


def command(app: typer.Typer, name: str, **options: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a function to ``app`` as the command ``name``.

    The function's first parameter is the Session; the options of all commands are added to the others.
    """

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(function)
        def run(**values: Any) -> None:
            session = Session(**{option: values.pop(option) for option in _COMMON})
            try:
                with exit_codes(session.output):
                    function(session, **values)
            finally:
                session.close()

        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        common = [
            inspect.Parameter(option, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
            for option, (annotation, default) in _COMMON.items()
        ]
        # Typer reads the options from the signature: the session is none, and the common ones are not the function's.
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own] + common
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        del run.__wrapped__
        app.command(name, **options)(run)
        return function

    return decorate


def stack_url(data: str) -> str | None:
    """Return the address of the API of the stack in the folder ``data``, or None if there is none."""
    try:
        memory = json.loads((Path(data).expanduser() / "stack.json").read_text(encoding="utf-8"))
        host, port = memory["api_host"], memory["ports"]["api"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # The stack may listen on all addresses; this command runs beside it.
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
    return f"http://{host}:{port}"


def key_of(text: str) -> Any:
    """Return a record key given as an argument: a JSON array for a key of several fields, else the text itself."""
    if text.startswith("["):
        try:
            return json.loads(text)
        except ValueError:
            pass
    return text


def read_text(path: str) -> str:
    """Return the text of a file, or of standard input for ``-``."""
    if path == "-":
        return sys.stdin.buffer.read().decode("utf-8")
    return Path(path).read_text(encoding="utf-8")
