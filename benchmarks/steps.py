"""Steps of pipelines, each beside the plain call of pandas or Arrow; chunk_text in front of an embedder."""

import hashlib
import hmac
import json
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from gristmill.bootstrap.embedders import build_embedders
from gristmill.bootstrap.steps import build_steps
from gristmill.core.config import Settings
from gristmill.datasets.contract import Contract, load_contract
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.transforms.run import to_frame
from gristmill.transforms.spec import StepContext
from gristmill.transforms.steps.chunk_text import ChunkText

ROWS, TEXTS, ROUNDS = 100_000, 5_000, 7
LIMIT, EMBEDDED = 1.2, 0.8
SECRET = "a-secret-for-benchmarks"
FIELDS = {
    "n": "integer", "x": "float", "price": "text", "day": "text", "colour": "text", "title": "text", "parts": "text",
    "raw": "json", "tags": "json",
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A step, and the call that it stands for; both get the same frame, whose columns are those of Arrow."""

    step: dict[str, Any]
    plain: Callable[[pd.DataFrame], Any]
    called: str


def run(bench: Bench) -> Iterator[Row]:
    """Yield for each step its time as a multiple of the plain call's, and the rate of chunk_text with an embedder."""
    settings = Settings(transforms_secrets=f"bench={SECRET}")
    registry = build_steps(settings, build_embedders(settings, None), None)
    frame = to_frame(_table(bench.size(ROWS, 2_000)))
    for case in CASES:
        contract = _contract(case.step)
        (step,) = bind_pipeline(contract, registry)
        ours = timed(partial(step.transform, frame, StepContext()))
        plain = timed(partial(case.plain, frame))
        yield Row(
            f"{_shown(case.step)} on {len(frame):,} rows, ms",
            f"{show(ours * 1000)}: {show(ours / plain)} × `{case.called}` ({show(plain * 1000)})",
            f"≤ {LIMIT} ×",
            ours <= LIMIT * plain,
            {"ours": ours, "plain": plain},
        )
    yield _chunked(bench)


def _chunked(bench: Bench) -> Row:
    """chunk_text and the static embedder beside the embedder alone, which is given the same parts."""
    settings = Settings()
    embedders = build_embedders(settings, None)
    registry, draw = build_steps(settings, embedders, None), random.Random(3)
    words = [f"{draw.choice(['grain', 'mill', 'flour', 'stone', 'river', 'wheel'])}{number}" for number in range(3000)]
    count = bench.size(TEXTS, 50)
    texts = [" ".join(draw.choices(words, k=draw.randrange(50, 600))) for _ in range(count)]
    contract = load_contract(
        {
            "name": "bench",
            "fields": [{"name": "text", "type": "text"}],
            "pipeline": [{"op": "chunk_text", "column": "text", "embedder": "static", "tokens": 200, "overlap": 20}],
        }
    )
    (step,) = bind_pipeline(contract, registry)
    assert isinstance(step.parameters, ChunkText)
    frame, embedder = to_frame(pa.table({"text": texts})), embedders.get("static")

    def parts() -> list[str]:
        found: list[str] = step.transform(frame, StepContext()).frame["text"].tolist()
        return found

    ready = parts()
    embedder.embed(ready[:100])
    both = timed(lambda: embedder.embed(parts()), 3)
    alone = timed(lambda: embedder.embed(ready), 3)
    return Row(
        f"chunk_text (200 tokens, 20 of overlap) and static embedder, {count:,} texts, {len(ready):,} parts",
        f"{len(ready) / both:,.0f} parts/s, {show(alone / both)} × embedding them alone ({len(ready) / alone:,.0f})",
        f"≥ {EMBEDDED} ×",
        alone >= EMBEDDED * both,
        {"both": both, "alone": alone},
    )


def timed(work: Callable[[], Any], rounds: int = ROUNDS) -> float:
    """Return the shortest time, in seconds."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


def _contract(step: dict[str, Any]) -> Contract:
    fields = [{"name": name, "type": type_} for name, type_ in FIELDS.items()]
    return load_contract({"name": "bench", "fields": fields, "pipeline": [step]})


def _table(rows: int) -> pa.Table:
    draw = random.Random(5)
    return pa.table(
        {
            "n": pa.array([None if draw.random() < 0.1 else draw.randrange(10**6) for _ in range(rows)], pa.int64()),
            "x": [draw.uniform(-1, 1) for _ in range(rows)],
            "price": [f"{draw.randrange(10**6)},{draw.randrange(100):02}" for _ in range(rows)],
            "day": [
                f"{draw.randrange(1, 29):02}/{draw.randrange(1, 13):02}/{draw.randrange(1950, 2030)}"
                for _ in range(rows)
            ],
            "colour": [draw.choice(["red", "green", "blue", "pink"]) for _ in range(rows)],
            "title": [f"  Ein schöner Titel {number} " for number in range(rows)],
            "parts": [f"{number};{number % 7};x" for number in range(rows)],
            "raw": [json.dumps({"name": {"first": f"a{number}"}, "n": number}) for number in range(rows)],
            "tags": [json.dumps([f"t{number}", "b", "c"][: number % 4]) for number in range(rows)],
        }
    )


def _shown(step: dict[str, Any]) -> str:
    return f"{step['op']} to {step['type']}" if "type" in step and step["op"] == "cast" else step["op"]


def _hash(value: str) -> str:
    return hmac.new(SECRET.encode(), value.encode(), hashlib.sha256).hexdigest()


def _decimals(frame: pd.DataFrame) -> Any:
    texts = pc.replace_substring(pa.chunked_array(frame["price"].array.__arrow_array__()), ",", ".")
    return texts.cast(pa.decimal128(38, 10)).cast(pa.string())


CODES = {"red": "R", "green": "G", "blue": "B"}
CASES = [
    Case({"op": "select", "columns": ["n", "x"]}, lambda frame: frame[["n", "x"]], "frame[[…]]"),
    Case({"op": "drop", "columns": ["raw"]}, lambda frame: frame.drop(columns=["raw"]), "frame.drop"),
    Case({"op": "rename", "columns": {"n": "m"}}, lambda frame: frame.rename(columns={"n": "m"}), "frame.rename"),
    Case(
        {"op": "cast", "column": "price", "type": "decimal", "decimal": ","},
        _decimals,
        "replace_substring, cast to decimal128 and to text",
    ),
    Case(
        {"op": "cast", "column": "price", "type": "float", "decimal": ","},
        lambda frame: pd.to_numeric(frame["price"].str.replace(",", ".", regex=False)),
        "str.replace, pd.to_numeric",
    ),
    Case(
        {"op": "cast", "column": "day", "type": "date", "format": "%d/%m/%Y"},
        lambda frame: pd.to_datetime(frame["day"], format="%d/%m/%Y"),
        "pd.to_datetime",
    ),
    Case(
        {"op": "derive", "as": "x", "value": "x * 1.19 + 1"},
        lambda frame: frame.assign(x=frame["x"] * 1.19 + 1),
        "frame.assign",
    ),
    Case({"op": "filter", "condition": "x > 0"}, lambda frame: frame[frame["x"] > 0], "frame[frame.x > 0]"),
    Case({"op": "filter", "where": {"x": {"gt": 0}}}, lambda frame: frame[frame["x"] > 0], "frame[frame.x > 0]"),
    Case({"op": "fill", "column": "n", "value": 0}, lambda frame: frame.assign(n=frame["n"].fillna(0)), "fillna"),
    Case(
        {"op": "map", "column": "colour", "values": CODES, "otherwise": "default"},
        lambda frame: frame.assign(colour=frame["colour"].map(CODES)),
        "series.map",
    ),
    Case(
        {"op": "clip", "column": "x", "minimum": -0.5, "maximum": 0.5},
        lambda frame: frame.assign(x=frame["x"].clip(-0.5, 0.5)),
        "series.clip",
    ),
    Case(
        {"op": "json_extract", "column": "raw", "path": "name.first", "as": "first"},
        lambda frame: frame.assign(first=[json.loads(text)["name"]["first"] for text in frame["raw"]]),
        "json.loads of each",
    ),
    Case(
        {"op": "explode", "column": "tags", "type": "text"},
        lambda frame: frame.assign(tags=[json.loads(text) for text in frame["tags"]]).explode("tags"),
        "json.loads of each, frame.explode",
    ),
    Case(
        {"op": "split", "column": "parts", "separator": ";", "into": ["a", "b", "c"]},
        lambda frame: frame["parts"].str.split(";", expand=True),
        "str.split(expand=True)",
    ),
    Case(
        {"op": "text_clean", "column": "title", "case": "lower"},
        lambda frame: frame["title"].str.normalize("NFC").str.lower().str.strip(),
        "str.normalize, lower, strip",
    ),
    Case(
        {"op": "pseudonymise", "column": "title", "secret": "bench"},
        lambda frame: frame.assign(title=frame["title"].map(_hash)),
        "map of hmac.new",
    ),
    Case(
        {"op": "normalise", "column": "x", "fitted": {"mean": 0.1, "deviation": 0.5}},
        lambda frame: frame.assign(x=(frame["x"] - 0.1) / 0.5),
        "(x - mean) / deviation",
    ),
]
