"""The demo's texts: a set of records with the questions that make sense for it, chosen by what this machine has."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gristmill.cli.demo import debian, operations
from gristmill.cli.demo.files import write_lines

# With fewer packages the lists of apt were never fetched, and the questions would find little.
ENOUGH = 3000


@dataclass(frozen=True)
class Question:
    """A search, a word that a summary found by it has and the question has not, and what holds for each hit."""

    body: Mapping[str, Any]
    finds: str
    holds: Callable[[Mapping[str, Any]], bool] = lambda record: True


@dataclass(frozen=True)
class TextSet:
    """Records and what to ask about them.

    about: what the texts are. shown: the fields of a hit that are printed. meaning, narrowed, like: what is asked.
    """

    contract: Mapping[str, Any]
    about: str
    records: Iterable[Mapping[str, Any]]
    shown: tuple[str, ...]
    meaning: Question
    narrowed: Question
    like: Question

    @property
    def name(self) -> str:
        return str(self.contract["name"])

    def write(self, path: Path) -> int:
        """Write one JSON record per line; return how many."""
        return write_lines(path, (json.dumps(record, ensure_ascii=False) + "\n" for record in self.records))


def choose_texts() -> TextSet:
    """Return this machine's package descriptions, or the operations where apt knows fewer than 3,000 packages.

    Raises DemoDataMissing if there are neither.
    """
    programs = debian.programs(debian.available())
    return _packages(programs) if len(programs) >= ENOUGH else _operations()


def _packages(programs: list[dict[str, Any]]) -> TextSet:
    chess = "play chess against the computer"
    return TextSet(
        contract=debian.PACKAGES,
        about="what the programs in this machine's package lists are for (apt-cache dumpavail)",
        records=programs,
        shown=("name", "section", "installed_kb", "summary"),
        meaning=Question({"text": "look at the stars in the night sky", "k": 5}, finds="astronom"),
        narrowed=Question(
            {"text": chess, "k": 5, "where": {"installed_kb": {"lt": 1000}}},
            finds="game",
            holds=lambda record: record["installed_kb"] < 1000,
        ),
        like=Question({"like": "vlc", "k": 5}, finds="video"),
    )


def _operations() -> TextSet:
    face = "recognise faces in a photo"
    return TextSet(
        contract=operations.OPERATIONS,
        about="what the operations of cloud services do (package botocore)",
        records=operations.operations(),
        shown=("service", "operation", "summary"),
        meaning=Question({"text": face, "k": 5}, finds="image"),
        narrowed=Question(
            {"text": face, "k": 5, "where": {"service": {"ne": "rekognition"}}},
            finds="image",
            holds=lambda record: record["service"] != "rekognition",
        ),
        like=Question({"like": ["translate", "TranslateText"], "k": 5}, finds="language"),
    )
