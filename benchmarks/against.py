"""Two versions in one run, in turn, on one machine: each has a stack of its own, and its figures are set side by side.

A scenario runs on both, then again in the other order (old, new, new, old), so that whatever the machine does befalls
both; the figure of a version is the median of its turns. The other version's stack idles meanwhile.
"""

import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.figures import Row, show

ROOT = Path(__file__).resolve().parents[1]
OLD, NEW = "old", "new"


# What is held against what: in words, (version, how its row begins), (the other), how many times it at least.
_KEYED, _PLAIN = "small jobs over HTTP with an Idempotency-Key", "small jobs over HTTP without a key"
CROSSED = (
    ("small jobs with a key, by the old version's without one", (NEW, _KEYED), (OLD, _PLAIN), 0.95),
    (
        "PATCH by key on one dataset, by small jobs with a key",
        (NEW, "PATCH by key on one dataset, 8"),
        (NEW, _KEYED),
        0.6,
    ),
    (
        "DELETE by key on one dataset, by small jobs with a key",
        (NEW, "DELETE by key on one dataset"),
        (NEW, _KEYED),
        0.6,
    ),
)


class Side:
    """A version: the process that measures it."""

    def __init__(self, name: str, python: Path, options: Sequence[str]) -> None:
        """python: an interpreter that has the version installed. Raises RuntimeError if its stack does not start."""
        self.name = name
        self._process = subprocess.Popen(
            [str(python), "-m", "benchmarks.side", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        self.about = self._read()

    def run(self, scenario: str) -> dict[str, Any]:
        """Return ``rows``, or why it ``failed``."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"scenario": scenario}).encode() + b"\n")
        self._process.stdin.flush()
        return self._read()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(120)

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the {self.name} version ended with {self._process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found


def interpreter(checkout: Path) -> Path:
    """Return the interpreter of a checkout. Raises FileNotFoundError if it was not set up."""
    python = checkout / ".venv" / "bin" / "python"
    if not python.exists():
        raise FileNotFoundError(f"{python} is missing: run make setup in {checkout}")
    return python


def compare(
    sides: Sequence[Side], scenarios: Sequence[str], rounds: int, say: Callable[[str], None],
    add: Callable[[str, Row], None], fail: Callable[[str, str], None],
) -> None:  # fmt: skip
    """Run every scenario ``rounds`` times on each side and add a row for each figure that both have."""
    known: dict[tuple[str, str], float] = {}
    for scenario in scenarios:
        figures: dict[str, dict[str, list[float]]] = {side.name: {} for side in sides}
        rows: dict[str, dict[str, Any]] = {}
        for turn in range(rounds):
            # Old, new; new, old; and so on.
            for measured in sides if turn % 2 == 0 else reversed(sides):
                say(f"{scenario}, turn {turn + 1} of {rounds}: {measured.name}")
                found = measured.run(scenario)
                if "failed" in found:
                    fail(f"{scenario} ({measured.name})", found["failed"])
                for row in found.get("rows", []):
                    say(f"  {row['what'].strip()}: {row['measured']}")
                    rows[row["what"]] = row
                    if row["figure"] is not None:
                        figures[measured.name].setdefault(row["what"], []).append(row["figure"])
        for version, found_figures in figures.items():
            known |= {(version, what): statistics.median(values) for what, values in found_figures.items()}
        for what, row in rows.items():
            if all(what in figures[side.name] for side in sides):
                add(scenario, pair(row, figures[OLD][what], figures[NEW][what]))

    for row in crossed(known):
        add("crossed", row)


def crossed(known: dict[tuple[str, str], float]) -> Iterator[Row]:
    """Yield the rows of ``CROSSED`` whose figures are known, by version and row."""
    for what, above, below, least in CROSSED:
        values = [
            value
            for version, begin in (above, below)
            for (side, name), value in known.items()
            if side == version and name.startswith(begin)
        ]
        if len(values) == 2 and values[1]:
            ratio = values[0] / values[1]
            yield Row(
                what,
                f"{show(values[0])} by {show(values[1])}: {show(ratio)} times",
                f"≥ {least:g}",
                ratio >= least,
                {"ratio": ratio},
                figure=ratio,
            )


def pair(row: dict[str, Any], old: Sequence[float], new: Sequence[float]) -> Row:
    """Return the row that sets the medians of two versions side by side."""
    before, after = statistics.median(old), statistics.median(new)
    ratio = after / before if before else float("inf")
    turns = f"{', '.join(map(show, old))} and {', '.join(map(show, new))}"
    return Row(
        row["what"],
        f"old {show(before)}, new {show(after)}: {show(ratio)} times ({turns})",
        "less is better" if row["lower"] else "more is better",
        None,
        {"old": before, "new": after, "ratio": ratio, "old_turns": list(old), "new_turns": list(new)},
        figure=ratio,
        lower=row["lower"],
    )


def open_sides(checkout: Path, options: Sequence[str]) -> list[Side]:
    """Start both versions, the old one first."""
    old = Side(OLD, interpreter(checkout), options)
    try:
        return [old, Side(NEW, Path(sys.executable), options)]
    except BaseException:
        old.close()
        raise
