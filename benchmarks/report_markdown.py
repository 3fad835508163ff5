"""Prints a report as the table of the README: ``python -m benchmarks.report_markdown REPORT.json [--plots FOLDER]``."""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import cache_folder
from benchmarks.peers import ROOT, Peers


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report_markdown", description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--plots", type=Path, help="draw the plots into this folder too")
    parser.add_argument("--all", action="store_true", help="every row, also those without a target")
    options = parser.parse_args()
    print(table(json.loads(options.report.read_text(encoding="utf-8")), options.all))
    if options.plots:
        peers = Peers(cache_folder(), lambda line: print(line, file=sys.stderr))
        command = [str(peers.python), "-m", "benchmarks.plots", str(options.report.resolve())]
        subprocess.run([*command, str(options.plots.resolve())], cwd=ROOT, check=True, stdout=sys.stderr)


def table(report: dict[str, Any], everything: bool = False) -> str:
    """Return the figures with a target, and those of peers, as Markdown; all of them with ``everything``."""
    machine, versions, durability = report["machine"], report["versions"], report["durability"]
    said = ", ".join(f"{name} {version}" for name, version in versions.items())
    lines = [
        f"Measured on {report['date'][:10]} on one machine with {machine['cores']} cores ({machine['cpu']}), "
        f"{machine['memory_gib']} GiB, {machine['system']}, {machine['disk']} (one fdatasync "
        f"{machine['fsync_ms']} ms), everything on it, load generator and Flower included. "
        f"{said}. {', '.join(f'{name}: {value}' for name, value in durability.items())}.",
        "",
        "| what | measured | aim | |",
        "|---|---|---|---|",
    ]
    if report["quick"]:
        lines.insert(0, "**Quick sizes: these figures mean nothing.**\n")
    for rows in report["scenarios"].values():
        for row in rows:
            if everything or row["target"] or _is_peer(row):
                met = {True: "met", False: "**missed**", None: ""}[row["met"]]
                cells = (row["what"].strip(), row["measured"], row["target"], met)
                lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    lines += [f"| {name} | could not be run: {why} | | |" for name, why in report["failed"].items()]
    return "\n".join(lines)


def _is_peer(row: dict[str, Any]) -> bool:
    return any(name in row["what"] for name in ("LangChain", "SQLAlchemy", "Chroma", "procrastinate"))


if __name__ == "__main__":
    main()
