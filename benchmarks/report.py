"""The report: one table for people, one JSON file for machines."""

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import SCENARIOS
from benchmarks.figures import Row


class Report:
    """What was measured, where, and under which settings. quick: with sizes that make the figures meaningless."""

    def __init__(self, quick: bool) -> None:
        self.quick = quick
        self.date = datetime.now(UTC)
        self.machine: dict[str, Any] = {}
        self.versions: dict[str, str] = {}
        self.durability: dict[str, Any] = {}
        self.rows: dict[str, list[Row]] = {}
        self.failed: dict[str, str] = {}
        self.dates: dict[str, str] = {}
        self._kept: dict[str, Any] = {}

    def add(self, scenario: str, row: Row) -> None:
        self.rows.setdefault(scenario, []).append(row)
        self.dates[scenario] = datetime.now(UTC).isoformat(timespec="seconds")

    def keep(self, path: Path) -> None:
        """Take over from an earlier report what this run does not measure itself, but no scenario that is gone."""
        self._kept = json.loads(path.read_text(encoding="utf-8"))
        for member in ("scenarios", "dates"):
            kept = self._kept.get(member, {})
            self._kept[member] = {name: kept[name] for name in kept if name in (*SCENARIOS, "crossed")}

    def print(self) -> None:
        """Print everything; wide enough for a terminal and for a file alike."""
        console = Console(highlight=False, soft_wrap=False, width=max(Console().width, 140))
        console.print(f"\nGristmill benchmarks, {self.date:%Y-%m-%d %H:%M} UTC")
        if self.quick:
            console.print("QUICK: the sizes are so small that the figures mean nothing", style="bold red")
        for title, facts in (("machine", self.machine), ("versions", self.versions), ("durability", self.durability)):
            said = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in facts.items())
            console.print(f"{title}: {said}", markup=False)
        table = Table()
        for column in ("what", "measured", "target"):
            table.add_column(column, overflow="fold")
        table.add_column("met", justify="center")
        for rows in self.rows.values():
            for row in rows:
                met = "" if row.met is None else "yes" if row.met else "NO"
                table.add_row(row.what, row.measured, row.target, met, style="red" if row.met is False else None)
            table.add_section()
        console.print(table)
        for scenario, reason in self.failed.items():
            console.print(f"{scenario} could not be run: {reason}", style="red", markup=False)

    def write(self, path: Path) -> None:
        """Write the report as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        document: dict[str, Any] = {
            "date": self.date.isoformat(timespec="seconds"),
            "quick": self.quick,
            "machine": self.machine,
            "versions": self.versions,
            "durability": self.durability,
            "scenarios": {name: [asdict(row) for row in rows] for name, rows in self.rows.items()},
            "dates": self.dates,
            "failed": self.failed,
        }
        for member in ("scenarios", "dates"):
            document[member] = {**self._kept.get(member, {}), **document[member]}
        path.write_text(json.dumps(document, indent=1, ensure_ascii=False, default=str) + "\n", encoding="utf-8")
