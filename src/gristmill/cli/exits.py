"""Exit codes, and the one place where exceptions become them.

0  done
1  the job failed or was cancelled
2  the command line is wrong: option, argument, or a file that cannot be read
3  refused: the server, or the local configuration, says that it cannot be done as asked (HTTP 4xx)
4  not reachable, or not able to right now (no answer, HTTP 429 and 5xx); the stack could not be started
5  the job was not done within the time given; it goes on
"""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

import typer

from gristmill.cli.output import Output
from gristmill.client import (
    ConnectionFailed,
    InvalidRequest,
    JobCancelled,
    JobFailed,
    Problem,
    Refused,
    UnfinishedJob,
    WaitTimeout,
)
from gristmill.core.errors import GristmillError

FAILED = 1
USAGE = 2
REFUSED = 3
UNAVAILABLE = 4
TIMEOUT = 5

_SHOWN_ERRORS = 20


class UsageError(Exception):
    """The command line asks for something that makes no sense."""


@contextmanager
def exit_codes(output: Output) -> Iterator[None]:
    """Run a command; print what went wrong to standard error and leave with its code."""
    try:
        yield
        # Here rather than at the interpreter's end, where a reader that has gone would be reported as a crash.
        sys.stdout.flush()
    except UsageError as error:
        _leave(output, USAGE, str(error))
    except (JobFailed, JobCancelled, WaitTimeout) as error:
        _leave_job(output, error)
    except Problem as error:
        _explain(output, error)
        raise typer.Exit(REFUSED if isinstance(error, Refused) else UNAVAILABLE) from error
    except ConnectionFailed as error:
        _leave(output, UNAVAILABLE, f"{error}\nIs it running? `gristmill up` starts it here; --url says where else.")
    except GristmillError as error:
        _leave(output, UNAVAILABLE if error.status >= 500 else REFUSED, error.detail, error.problem())
    except ModuleNotFoundError as error:
        # Parts of the server are loaded by the commands that run them.
        text = f"this command needs {error.name}, which is not installed here: pip install 'gristmill[server,stack]'"
        _leave(output, USAGE, text)
    except BrokenPipeError:
        # The reader of a pipe (head, less) has seen enough. Nothing may be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
    except (OSError, ValueError) as error:
        _leave(output, USAGE, str(error))


def _leave(output: Output, code: int, message: str, problem: dict[str, Any] | None = None) -> NoReturn:
    if output.json:
        output.problem(problem or {"title": message})
    else:
        output.error(message)
    raise typer.Exit(code)


def _leave_job(output: Output, error: UnfinishedJob) -> NoReturn:
    if output.json:
        # The job is the answer that was asked for; that it failed says its state, and the exit code.
        output.document(error.job)
    else:
        output.error(str(error))
        _places(output, (error.job.get("error") or {}).get("errors", []), None)
    raise typer.Exit(TIMEOUT if isinstance(error, WaitTimeout) else FAILED)


def _explain(output: Output, error: Problem) -> None:
    if output.json:
        output.problem(error.problem)
        return
    output.error(str(error))
    if isinstance(error, InvalidRequest):
        _places(output, error.errors, error.errors_total)


def _places(output: Output, places: list[dict[str, Any]], total: int | None) -> None:
    for place in places[:_SHOWN_ERRORS]:
        line = f"line {place['line']}" if place.get("line") else ""
        where = ", ".join(part for part in (line, place.get("pointer")) if part)
        output.note(f"  {where}{': ' if where else ''}{place.get('reason', '')} [{place.get('code', '')}]")
    more = (len(places) if total is None else total) - _SHOWN_ERRORS
    if more > 0:
        output.note(f"  … and {more} more")


def parse_names(text: str | None) -> list[str] | None:
    """Return the names in a list such as ``id,note``; None stays None."""
    return None if text is None else [name.strip() for name in text.split(",")]


def parse_json(text: str, what: str) -> Any:
    """Return JSON given as an option: the text itself, or ``@FILE``. Raises UsageError naming ``what``."""
    if text.startswith("@"):
        with open(text[1:], encoding="utf-8") as file:
            text = file.read()
    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{what} is not JSON ({error}): {text[:80]}") from error
