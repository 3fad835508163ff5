"""Glosses of WordNet 3.0: 117,000 short definitions, from Debian's package wordnet-base."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path("/usr/share/wordnet")
PACKAGE = "wordnet-base"
_KINDS = ("noun", "verb", "adj", "adv")


def installed() -> bool:
    """Say whether the glosses are there, after an attempt to install them where that is possible (root, apt)."""
    if not (FOLDER / "data.noun").exists() and os.geteuid() == 0 and shutil.which("apt-get"):
        quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", PACKAGE]):
            subprocess.run(command, env=quiet, capture_output=True, check=False)
    return (FOLDER / "data.noun").exists()


def glosses() -> Iterator[tuple[str, str, str, int]]:
    """Yield (name, gloss, section, size) of each synset.

    name: its first word and its number; section: kind and lexicographer's file, such as ``noun.05``; size: bytes of
    its entry in the file.
    """
    for kind in _KINDS:
        with (FOLDER / f"data.{kind}").open(encoding="utf-8") as file:
            for line in file:
                # The licence comes first, indented.
                if not line.startswith(" "):
                    entry, _, gloss = line.partition(" | ")
                    offset, lexicon, _, _, word, *_ = entry.split(" ")
                    yield f"{word}:{kind}:{offset}", gloss.strip(), f"{kind}.{lexicon}", len(line)
