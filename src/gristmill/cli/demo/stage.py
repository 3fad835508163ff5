"""Runs the steps of the demo one by one: heading, curl line, what came back, how long it took."""

import json
import shlex
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.text import Text

from gristmill.cli.output import Output
from gristmill.client import ClientError
from gristmill.core.errors import GristmillError


class StepFailed(Exception):
    """What came back is not what the step promises."""


@dataclass
class Step:
    """What one step did. seconds: the time of its calls as ``timed`` measured them."""

    title: str
    ok: bool = False
    seconds: float = 0.0
    problem: str | None = None
    facts: dict[str, Any] = field(default_factory=dict)


class Stage:
    """Prints for people, or with ``--json`` one document per step. Keeps what every step did."""

    def __init__(self, output: Output, url: str, with_key: bool) -> None:
        self.steps: list[Step] = []
        self._output = output
        self._url = url
        self._with_key = with_key

    @property
    def ok(self) -> bool:
        """True if every step so far did what it promises."""
        return all(step.ok for step in self.steps)

    def run(self, title: str, step: Callable[[], None]) -> None:
        """Run one step. A failure is told and kept, and the next steps run all the same."""
        self.steps.append(Step(title))
        if not self._output.json:
            self._output.console.print()
            self._output.console.print(Text(f"{len(self.steps)}. {title}", style="bold"), soft_wrap=True)
        current = self.steps[-1]
        try:
            step()
            current.ok = True
        except (StepFailed, ClientError, GristmillError, OSError, KeyError) as error:
            current.problem = f"{type(error).__name__}: {error}"
            if not self._output.json:
                self._output.error(current.problem)
        if self._output.json:
            self._output.document({**vars(current), "seconds": round(current.seconds, 4)})

    def expect(self, holds: bool, promise: str) -> None:
        """Fail the step unless ``promise`` holds."""
        if not holds:
            raise StepFailed(f"not so: {promise}")

    def timed(self, what: str, call: Callable[[], Any]) -> Any:
        """Make a call, add its time to the step's, and print it."""
        began = time.perf_counter()
        try:
            return call()
        finally:
            seconds = time.perf_counter() - began
            self.steps[-1].seconds += seconds
            self.fact(what, f"{seconds * 1000:.1f} ms" if seconds < 1 else f"{seconds:.2f} s")

    def fact(self, name: str, value: Any) -> None:
        """Print one figure or finding, and keep it."""
        self.steps[-1].facts[name] = value
        self._output.line(f"  {name}: {value}")

    def table(self, rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
        """Print rows; nothing with ``--json``."""
        if not self._output.json:
            self._output.rows(rows, columns)

    def curl(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        file: str | None = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
        header: str | None = None,
    ) -> None:
        """Print the curl line that does what the next call does.

        body: sent as JSON. file: sent as it is. query: parameters; those that need it are encoded by curl.
        """
        words = ["curl", "-s"]
        if query:
            words.append("-G")
        elif method != "GET":
            words += ["-X", method]
        if self._with_key:
            words += ["-H", "Authorization: Bearer $GRISTMILL_API_KEY"]
        if header:
            words += ["-H", header]
        words.append(self._url + path)
        for name, value in (query or {}).items():
            words += ["--data-urlencode", f"{name}={value}"]
        if body is not None or file is not None:
            words += ["-H", f"Content-Type: {content_type}"]
            words += ["--data-binary", f"@{file}" if file else json.dumps(body, ensure_ascii=False)]
        if not self._output.json:
            self._output.console.print(Text("$ " + " ".join(map(_quoted, words)), style="cyan"), soft_wrap=True)


def _quoted(word: str) -> str:
    # The shell has to put the key in, so this one word is in double quotes.
    return f'"{word}"' if "$GRISTMILL_API_KEY" in word else shlex.quote(word)
