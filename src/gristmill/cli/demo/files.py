"""Files of records for the demo: written once, sent by the client and by curl alike."""

import importlib.util
from collections.abc import Iterable
from pathlib import Path

from gristmill.core.errors import GristmillError


class DemoDataMissing(GristmillError):
    """A package that carries the demo's data is not installed."""

    code = "demo_data_missing"
    kind = "unavailable"
    status = 503
    title = "The demo's data is not installed"


def package_folder(name: str) -> Path:
    """Return a package's folder without importing it: these imports cost a second. Raises DemoDataMissing."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise DemoDataMissing(f"The demo needs the package {name}: pip install 'gristmill[demo]'")
    return Path(found.submodule_search_locations[0])


def write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write the lines and return how many; a reader sees no file, or all of it."""
    count = 0
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as file:
        for count, line in enumerate(lines, start=1):  # noqa: B007 - the count outlives the loop
            file.write(line)
    temporary.replace(path)
    return count
