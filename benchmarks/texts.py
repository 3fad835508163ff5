"""Real texts to load and to search for: package descriptions of Debian, else descriptions of cloud services.

Random vectors would say nothing: on them the recall of every index collapses, and their speed is another one too.
"""

import gzip
import html
import json
import random
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

# Fewer packages than this is a machine that has no lists of packages.
ENOUGH = 20_000
HELD_OUT = 300
_TAG = re.compile(r"<[^>]*>")


@dataclass(frozen=True)
class Texts:
    """source: where they are from, in words. loaded: (name, text) pairs. held_out: texts that none of them equals."""

    source: str
    loaded: list[tuple[str, str]]
    held_out: list[str]


@cache
def real_texts(count: int) -> Texts:
    """Return ``count`` texts to load, or all where there are fewer, and 300 others to search with."""
    source, found = "Debian package descriptions (apt-cache dumpavail)", _packages()
    if len(found) < ENOUGH:
        source, found = "descriptions of operations and types of cloud services (botocore)", list(_services())
    chosen = random.Random(2)
    held_out = chosen.sample(sorted({text for _, text in found}), HELD_OUT)
    unseen = set(held_out)
    loaded = [(name, text) for name, text in found if text not in unseen]
    chosen.shuffle(loaded)
    return Texts(source, loaded[:count], held_out)


def write_ndjson(path: Path, texts: Texts, records: int) -> int:
    """Write ``records`` records {name, text}, the texts over and over where they do not suffice; return the bytes."""
    with path.open("w", encoding="utf-8") as file:
        for place in range(records):
            name, text = texts.loaded[place % len(texts.loaded)]
            again = place // len(texts.loaded)
            record = {"name": f"{name}#{again}" if again else name, "text": text}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return path.stat().st_size


def _packages() -> list[tuple[str, str]]:
    if shutil.which("apt-cache") is None:
        return []
    listed = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=False).stdout.decode(
        errors="replace"
    )
    found: dict[str, str] = {}
    for paragraph in listed.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        text = fields.get("Description") or fields.get("Description-en")
        if text and "Package" in fields:
            found[fields["Package"]] = text
    return list(found.items())


def _services() -> Iterator[tuple[str, str]]:
    spec = find_spec("botocore")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("There are no texts: neither lists of Debian packages nor botocore (gristmill[demo])")
    for path in sorted(Path(spec.submodule_search_locations[0], "data").glob("*/*/service-2.json*")):
        content = path.read_bytes()
        model = json.loads(gzip.decompress(content) if path.suffix == ".gz" else content)
        service = path.parent.parent.name
        described: dict[str, Any] = {**model["operations"], **model["shapes"]}
        for name, value in described.items():
            if text := _first_sentence(value.get("documentation", "")):
                yield f"{service}:{path.parent.name}:{name}", text


def _first_sentence(documentation: str) -> str:
    words = " ".join(html.unescape(_TAG.sub(" ", documentation)).split())
    return words.split(". ")[0][:300]
