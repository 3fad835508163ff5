"""Prints a report as the table of docs/performance.md, draws its plots, and puts both there:

python -m benchmarks.report_markdown REPORT.json [--plots docs/images] [--page docs/performance.md] [--all]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from benchmarks.harness import cache_folder
from benchmarks.peers import ROOT, Peers

BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
PLOTS = {
    "loading": "Rows per second until searchable, Gristmill and others",
    "load-2m": "A large load in one go: rows done, and rows without an index",
    "search": "Recall and latency of searches",
    "jobs": "Small jobs per second",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report_markdown", description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--plots", type=Path, help="draw the plots into this folder too")
    parser.add_argument("--all", action="store_true", help="every row, also those without a target")
    parser.add_argument(
        "--page", type=Path, help="put the table between the marks of this file, and the plots below it"
    )
    options = parser.parse_args()
    text = table(json.loads(options.report.read_text(encoding="utf-8")), options.all)
    print(text)
    if options.plots:
        peers = Peers(cache_folder(), lambda line: print(line, file=sys.stderr))
        command = [str(peers.python), "-m", "benchmarks.plots", str(options.report.resolve())]
        subprocess.run([*command, str(options.plots.resolve())], cwd=ROOT, check=True, stdout=sys.stderr)
    if options.page:
        drawn = [path for name in PLOTS if options.plots and (path := options.plots / f"{name}.png").exists()]
        put(options.page, text, drawn)


def put(page: Path, text: str, plots: list[Path]) -> None:
    """Replace what stands between the marks. Raises ValueError where there are none."""
    whole = page.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} has no marks {BEGIN} and {END}")
    folder = page.resolve().parent
    pictures = [f"![{PLOTS[path.stem]}]({path.resolve().relative_to(folder)})" for path in plots]
    shown = "\n\n".join([text, *pictures])
    page.write_text(f"{before}{BEGIN}\n{shown}\n{END}{after}", encoding="utf-8")


def table(report: dict[str, Any], everything: bool = False) -> str:
    """Return the figures with a target, and those that are compared, as Markdown; all of them with ``everything``."""
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
            if everything or row["target"] or _is_compared(row):
                met = {True: "met", False: "**missed**", None: ""}[row["met"]]
                cells = (row["what"].strip(), row["measured"], row["target"], met)
                lines.append(f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |")
    lines += [f"| {name} | could not be run: {why} | | |" for name, why in report["failed"].items()]
    return "\n".join(lines)


def _is_compared(row: dict[str, Any]) -> bool:
    """Say whether the row is that of a peer, or of a search that peers' searches are to be read beside."""
    peer = any(name in row["what"] for name in ("LangChain", "SQLAlchemy", "Chroma", "procrastinate"))
    return peer or "recall" in row.get("values", {})


if __name__ == "__main__":
    main()
