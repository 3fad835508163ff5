"""What commands print: JSON for programs, tables for people; messages always go to standard error."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import IO, Any, cast
from unicodedata import category

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from gristmill.client._jobs import Progress as OnProgress

# A piped table has no edge to be cut at.
_PIPE_WIDTH = 1_000_000
# Overrides of the writing direction.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


class Output:
    """One command's output. With ``json`` standard output holds JSON and nothing else.

    A thing is one JSON document on one line; a list is one document per line, printed as it arrives.
    """

    def __init__(self, json: bool) -> None:
        self.json = json
        self.console = Console(
            width=None if sys.stdout.isatty() else _PIPE_WIDTH, highlight=False, markup=False, emoji=False
        )
        self._errors = Console(stderr=True, soft_wrap=True, highlight=False, markup=False, emoji=False)

    def document(self, value: Any) -> None:
        """Print one JSON document."""
        print(json.dumps(value, ensure_ascii=False, separators=(",", ":")))

    def thing(self, value: Mapping[str, Any]) -> None:
        """Print one object: JSON, or its members one below the other."""
        if self.json:
            self.document(value)
            return
        grid = Table.grid(padding=(0, 2))
        for name, member in value.items():
            grid.add_row(Text(name, style="bold"), cell(member))
        self._print(grid)

    def rows(self, items: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None, empty: str = "") -> None:
        """Print a list: a JSON document per line, or a table with ``columns`` (None: the members of the first item).

        A column may be a dotted path into an item.
        """
        if self.json:
            for item in items:
                self.document(item)
            return
        iterator = iter(items)
        first = next(iterator, None)
        if first is None:
            self.note(empty or "nothing found")
            return
        names = list(columns or first)
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        for name in names:
            # On a terminal long cells fold; nothing is ever cut off.
            table.add_column(name.rsplit(".", 1)[-1], overflow="fold", no_wrap=not self.console.is_terminal)
        for item in (first, *iterator):
            table.add_row(*(cell(_member(item, name)) for name in names))
        self._print(table)

    def _print(self, table: Table) -> None:
        if self.console.is_terminal:
            self.console.print(table)
            return
        # Cells are padded to their column's width, which in a pipe would leave blanks at every line's end.
        with self.console.capture() as captured:
            self.console.print(table)
        print("\n".join(line.rstrip() for line in captured.get().splitlines()))

    def line(self, text: str) -> None:
        """Print a line for people; nothing with ``json``."""
        if not self.json:
            self.console.print(text, soft_wrap=True)

    def note(self, text: str) -> None:
        """Print a message to standard error."""
        self._errors.print(_harmless(text, kept="\n"))

    def error(self, text: str) -> None:
        """Print what went wrong to standard error."""
        self._errors.print(Text.assemble(("error: ", "bold red"), _harmless(text, kept="\n")))

    def problem(self, value: Mapping[str, Any]) -> None:
        """Print a problem object as JSON to standard error."""
        print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), file=sys.stderr)

    @contextmanager
    def progress(self, what: str) -> Iterator[OnProgress | None]:
        """Show a bar on standard error while a job is waited for; None where nobody would see it."""
        if self.json or not self._errors.is_terminal:
            yield None
            return
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            _Rate(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._errors, transient=True) as bar:
            task = bar.add_task(what, total=None)

            def show(job: dict[str, Any]) -> None:
                # Chunks carry the progress; records are what people count in.
                total = job["record_counts"]["total"] or job["chunks"]["total"]
                done = round(total * job["progress"])
                bar.update(task, description=f"{what} {job['state']}", total=total, completed=done)

            yield show

    @contextmanager
    def sending(self, file: IO[bytes], size: int) -> Iterator[IO[bytes]]:
        """Show a bar on standard error while ``file`` is read; yields what is to be read in its place."""
        if self.json or not self._errors.is_terminal:
            yield file
            return
        columns = (SpinnerColumn(), TextColumn("send"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        with Progress(*columns, console=self._errors, transient=True) as bar:
            task = bar.add_task("send", total=size)
            yield cast(IO[bytes], _Watched(file, lambda place: bar.update(task, completed=place)))


class _Rate(ProgressColumn):
    """How many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")


class _Watched:
    """A file of which each read is told by the place that it has come to."""

    def __init__(self, file: IO[bytes], seen: Callable[[int], None]) -> None:
        self._file, self._seen = file, seen

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        self._seen(self._file.tell())
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def seekable(self) -> bool:
        return self._file.seekable()


def cell(value: Any) -> Text:
    """Return a value as one line of plain text: never markup, never control characters."""
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, bool):
        return Text("true" if value else "false")
    if isinstance(value, float):
        return Text(f"{value:.10g}")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False) if _nested(value) else str(value)
    return Text(_harmless(text))


def _harmless(text: str, kept: str = "") -> str:
    """Escape control characters: data from others must not move the cursor, recolour the screen or turn the text."""
    return "".join(
        repr(sign)[1:-1] if sign not in kept and (category(sign) in ("Cc", "Cs") or sign in _TURNING) else sign
        for sign in text
    )


def _nested(value: Any) -> bool:
    return isinstance(value, (dict, list))


def _member(item: Mapping[str, Any], path: str) -> Any:
    value: Any = item
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value
