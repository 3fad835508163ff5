"""The tour, run cell by cell; docs/tour.md is what came out: ``python -m tests.support.tour URL`` writes it anew.

URL: of a stack that runs, with the plugin ``daily_weather``.
"""

import asyncio
import os
import re
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "examples" / "tour.ipynb"
PAGE = ROOT / "docs" / "tour.md"
PICTURES = "images/tour"
HEAD = "<!-- made of examples/tour.ipynb: python -m tests.support.tour URL -->\n\n"
# Seconds for one cell.
_PATIENCE = 120


def read() -> Any:
    """Return the notebook as it is in the repository."""
    return nbformat.read(NOTEBOOK, as_version=4)


def run(url: str) -> Any:
    """Run all cells against a server and return the notebook with its outputs. Raises CellExecutionError."""
    notebook = read()
    before = {name: os.environ.get(name) for name in ("GRISTMILL_URL", "PYDEVD_DISABLE_FILE_VALIDATION")}
    os.environ |= {"GRISTMILL_URL": url, "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    try:
        client = NotebookClient(
            notebook, timeout=_PATIENCE, kernel_name="python3", resources={"metadata": {"path": str(NOTEBOOK.parent)}}
        )
        asyncio.run(client.async_execute())
    finally:
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})
    return notebook


def shown(notebook: Any) -> dict[str, str]:
    """Return the text that each cell of code shows, by its source; a picture has none."""
    found = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts = [output.get("text") or output.get("data", {}).get("text/plain", "") for output in cell.outputs]
            found[cell.source] = "\n".join(texts)
    return found


def pictures(notebook: Any) -> int:
    """Return how many pictures the cells show."""
    return sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", []))


def sources(text: str) -> list[str]:
    """Return the cells of code that a page shows."""
    return [cell.strip() for cell in re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)]


def write_page(notebook: Any) -> None:
    """Write the page and its pictures."""
    from nbconvert import MarkdownExporter  # noqa: PLC0415 - only who writes the page needs it
    from traitlets.config import Config  # noqa: PLC0415

    plain = Config({"NbConvertBase": {"display_data_priority": ["image/png", "text/plain"]}})
    folder = PAGE.parent / PICTURES
    text, resources = MarkdownExporter(config=plain).from_notebook_node(
        notebook, resources={"output_files_dir": PICTURES, "unique_key": "tour"}
    )
    for old in folder.glob("*.png"):
        old.unlink()
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in resources["outputs"].items():
        (PAGE.parent / name).write_bytes(content)
    # The notebook stands beside the examples, the page beside the other pages.
    text = text.replace("](daily_weather.py)", "](../examples/daily_weather.py)")
    PAGE.write_text(HEAD + re.sub(r"\n{4,}", "\n\n", text).strip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_page(run(sys.argv[1]))
