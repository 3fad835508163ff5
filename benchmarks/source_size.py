"""How much source there is: lines, files, the longest and the median file of the package that is measured."""

from collections.abc import Iterator
from pathlib import Path
from statistics import median

import gristmill
from benchmarks.figures import Row
from benchmarks.harness import Bench


def run(_bench: Bench) -> Iterator[Row]:
    """Yield one row, about the package that this interpreter imports."""
    folder = Path(gristmill.__file__).parent
    lines = {path: path.read_bytes().count(b"\n") for path in folder.rglob("*.py")}
    filled = [count for count in lines.values() if count]
    total, middle, longest = sum(filled), median(filled), max(lines, key=lambda path: lines[path])
    yield Row(
        "source of the package",
        f"{total:,} lines in {len(filled)} files, median {middle:g}, longest {lines[longest]} "
        f"({longest.relative_to(folder)})",
        "files ≤ 300 lines, median ≤ 100",
        lines[longest] <= 300 and middle <= 100,
        {"lines": total, "files": len(filled), "median": middle, "longest": lines[longest]},
        figure=float(total),
        lower=True,
    )
