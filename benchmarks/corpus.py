"""Millions of rows of real text with their 256-d vectors, as Parquet files that are made once and kept.

A row is (id, name, summary, section, size, _embedding). The first rows are one text each: package descriptions of
Debian and glosses of WordNet, some 180,000 in an order drawn by a fixed seed. Further rows join two different ones,
``first; second``, both drawn by the seed. The vectors are those of the embedder ``static``, of the joined text: real
sentences all of them, clustered as texts are, and no two rows are alike but by chance.
"""

import hashlib
import json
import multiprocessing
import os
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks import wordnet
from benchmarks.static_vectors import embed

DIMENSIONS = 256
PART = 100_000
HELD_OUT = 300
# Counted up when rows are made in another way: files made before are not used then.
_RECIPE = 1
_SEED = 3
_BATCH = 10_000

Text = tuple[str, str, str, int]

FIELDS = [
    {"name": "id", "type": "integer", "required": True},
    {"name": "name", "type": "text", "required": True},
    {"name": "summary", "type": "text", "required": True},
    {"name": "section", "type": "text", "required": True, "filterable": True},
    {"name": "size", "type": "integer", "required": True, "filterable": True},
]
SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("name", pa.string()),
        ("summary", pa.string()),
        ("section", pa.string()),
        ("size", pa.int64()),
        ("_embedding", pa.list_(pa.float32(), DIMENSIONS)),
    ]
)


def contract(name: str, filterable: bool = False) -> dict[str, object]:
    """Return the contract of these rows: keyed by id, searched by the client's vectors, section and size filterable."""
    fields = [field if filterable else {**field, "filterable": False} for field in FIELDS]
    return {"name": name, "fields": fields, "key": ["id"], "embedding": {"dimensions": DIMENSIONS, "metric": "cosine"}}


@dataclass(frozen=True)
class Texts:
    """source: in words. base: (name, text, section, size), distinct texts. held_out: texts that none of them equals."""

    source: str
    base: list[Text]
    held_out: list[str]


class Corpus:
    """The rows from id 0 on, in Parquet files of 100,000 below ``folder``."""

    def __init__(self, folder: Path, say: Callable[[str], None] = lambda line: None) -> None:
        texts = _texts()
        self.source = texts.source
        digest = hashlib.sha256(json.dumps([_RECIPE, texts.base, texts.held_out]).encode()).hexdigest()[:12]
        self._folder = folder / f"corpus-{digest}"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._say = say

    def parts(self, rows: int) -> list[Path]:
        """Return the files that hold the first ``rows`` rows (a multiple of 100,000), made where they are missing."""
        if rows % PART:
            raise ValueError(f"{rows} is no multiple of {PART}")
        wanted = [self._folder / f"part-{number:03}.parquet" for number in range(rows // PART)]
        missing = [number for number, path in enumerate(wanted) if not path.exists()]
        if missing:
            self._say(f"  making {len(missing) * PART:,} rows of text with their vectors; they are kept for next time")
            # Forked, so that the texts are there without being read and sent again.
            fork = multiprocessing.get_context("fork")
            with ProcessPoolExecutor(len(os.sched_getaffinity(0)), mp_context=fork) as pool:
                made = (pool.submit(_make_part, wanted[number], number) for number in missing)
                for future in list(made):
                    future.result()
        return wanted

    def file(self, first: int, rows: int) -> Path:
        """Return a file of its own with ``rows`` rows from id ``first``, within one part, as ``write_table`` writes."""
        path = self._folder / f"rows-{first}-{rows}.parquet"
        if not path.exists():
            _publish(self.rows(first, rows), path)
        return path

    def files(self, rows: int) -> list[Path]:
        """Return the files that hold the first ``rows`` rows together, in order."""
        whole = rows // PART * PART
        return self.parts(whole) + ([self.file(whole, rows - whole)] if rows > whole else [])

    def rows(self, first: int, rows: int) -> pa.Table:
        """Return ``rows`` rows from id ``first``, in memory."""
        part = self.parts((first // PART + 1) * PART)[-1]
        if first % PART + rows > PART:
            raise ValueError("the rows lie in two parts")
        return pq.read_table(part).slice(first % PART, rows)

    def vectors(self, rows: int) -> Iterator[tuple[pa.Table, np.ndarray]]:
        """Yield (columns without the vectors, float32 array) of the first ``rows`` rows, part by part."""
        for number, path in enumerate(self.parts(-(-rows // PART) * PART)):
            table = pq.read_table(path).slice(0, min(PART, rows - number * PART))
            yield table.drop_columns(["_embedding"]), vectors_of(table)

    def queries(self) -> np.ndarray:
        """Return the vectors of 300 real texts that are in no row, each as long as a row's text, (300, 256)."""
        return np.asarray(embed(self.held_out()), dtype=np.float32)

    def held_out(self) -> list[str]:
        """Return the texts whose vectors ``queries`` are."""
        return _texts().held_out


def vectors_of(table: pa.Table) -> np.ndarray:
    """Return the column ``_embedding`` as (rows, 256) float32, without a copy where it is in one piece."""
    column = table.column("_embedding").combine_chunks()
    flat = column.flatten() if isinstance(column, pa.Array) else pa.concat_arrays([c.flatten() for c in column.chunks])
    return np.asarray(flat).reshape(-1, DIMENSIONS)


@cache
def _texts() -> Texts:
    """Return the texts, distinct, in an order drawn by the seed; the later half of the queries join two, as rows do."""
    found: dict[str, Text] = {}
    kinds = []
    for kind, texts in (("Debian package descriptions", _packages()), ("WordNet 3.0 glosses", _glosses())):
        before = len(found)
        for text in texts:
            # What has no word has nothing to embed.
            if sum(character.isalpha() for character in text[1]) >= 4:
                found.setdefault(text[1], text)
        if len(found) > before:
            kinds.append(f"{len(found) - before:,} {kind}")
    if len(found) < 20_000:
        raise RuntimeError(
            "There are too few texts: neither lists of Debian packages (apt-get update) nor the package wordnet-base"
        )
    ordered = list(found.values())
    order = np.random.default_rng(_SEED).permutation(len(ordered))
    chosen = [ordered[place] for place in order]
    aside, base = chosen[: HELD_OUT + HELD_OUT // 2], chosen[HELD_OUT + HELD_OUT // 2 :]
    single = [text[1] for text in aside[: HELD_OUT // 2]]
    rest = aside[HELD_OUT // 2 :]
    joined = [_join(one, other)[1] for one, other in zip(rest[::2], rest[1::2], strict=True)]
    return Texts(" and ".join(kinds), base, single + joined)


def _join(one: Text, other: Text) -> Text:
    return f"{one[0]}+{other[0]}", f"{one[1]}; {other[1]}", one[2], one[3] + other[3]


def _packages() -> Iterator[Text]:
    try:
        listed = subprocess.run(["apt-cache", "dumpavail"], capture_output=True, check=False).stdout
    except FileNotFoundError:
        return
    seen = set()
    for paragraph in listed.decode(errors="replace").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        text = fields.get("Description") or fields.get("Description-en")
        name = fields.get("Package")
        if text and name and name not in seen:
            seen.add(name)
            yield name, text, fields.get("Section", "none"), int(fields.get("Size", 0))


def _glosses() -> Iterator[Text]:
    if wordnet.installed():
        yield from wordnet.glosses()


def _make_part(path: Path, number: int) -> None:
    base = _texts().base
    rows = []
    for row in range(number * PART, (number + 1) * PART):
        if row < len(base):
            rows.append(base[row])
        else:
            # Every text is the first of one pair in each round; its second is another one in each round.
            turn, place = divmod(row, len(base))
            shift = 1 + (turn * 7919 + 104_729) % (len(base) - 1)
            rows.append(_join(base[place], base[(place + shift) % len(base)]))
    vectors = np.concatenate([embed([row[1] for row in rows[at : at + _BATCH]]) for at in range(0, PART, _BATCH)])
    if not np.isfinite(vectors).all():
        raise RuntimeError("a text has no vector")
    names, summaries, sections, sizes = zip(*rows, strict=True)
    columns = [
        pa.array(np.arange(number * PART, (number + 1) * PART)),
        pa.array(names, pa.string()),
        pa.array(summaries, pa.string()),
        pa.array(sections, pa.string()),
        pa.array(sizes, pa.int64()),
        pa.FixedSizeListArray.from_arrays(pa.array(vectors.astype(np.float32).ravel()), DIMENSIONS),
    ]
    _publish(pa.Table.from_arrays(columns, schema=SCHEMA), path)


def _publish(table: pa.Table, path: Path) -> None:
    """Write the file so that it is either there as a whole or not."""
    making = path.with_suffix(f".{os.getpid()}")
    pq.write_table(table, making)
    making.replace(path)
