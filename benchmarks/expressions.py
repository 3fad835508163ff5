"""Expressions: a CSV through five steps beside the same without a pipeline, and one derive beside the same by hand."""

import csv
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.uploads import Load, middle, upload
from gristmill.datasets.contract_parser import parse_contract
from gristmill.datasets.step_types import bound_types
from gristmill.transforms.expression.check import compile_expression
from gristmill.transforms.expression.run import evaluate
from gristmill.transforms.spec import Column

ROUNDS = 3
RATIO, BY_HAND, BY_ROW = 0.7, 2.0, 30.0
FIELDS: list[dict[str, Any]] = [
    {"name": "k", "type": "integer", "required": True},
    {"name": "price", "type": "float"},
    {"name": "weight", "type": "float"},
    {"name": "colour", "type": "text"},
    {"name": "size", "type": "text"},
    {"name": "note", "type": "text"},
]
STEPS: list[dict[str, Any]] = [
    {"op": "filter", "condition": "weight > 0"},
    {"op": "cast", "column": "price", "as": "amount", "type": "float"},
    {"op": "derive", "as": "weight", "value": "weight / 1000"},
    {"op": "text_clean", "column": "note", "case": "lower"},
    {"op": "map", "column": "size", "values": {"S": "small", "M": "medium", "L": "large"}},
]
# The same file through these steps: the price is sent as a text, and stored as a number.
PIPED: dict[str, Any] = {
    "input": [{"name": "price", "type": "text"} if field["name"] == "price" else field["name"] for field in FIELDS],
    "fields": [
        {"name": "amount", "type": "float", "computed": True} if field["name"] == "price" else field for field in FIELDS
    ],
    "pipeline": STEPS,
}
EXPRESSION = "price * 1.19 + weight / 1000 if weight > 0 else price"


def run(bench: Bench) -> Iterator[Row]:
    """Yield rows per second with and without a pipeline, and the times of one derive, three ways."""
    path, count = _file(bench), bench.size(300_000, 10_000)
    rates: dict[bool, Load] = {}
    for piped in (False, True):
        _once(bench, path, count, piped)
        rates[piped] = middle([_once(bench, path, count, piped) for _ in range(bench.size(ROUNDS, 1))])
    ratio = rates[True].rate / rates[False].rate
    yield Row(
        f"CSV of 6 columns through filter, cast, derive, text_clean and map, {count:,} rows",
        f"{rates[True].rate:,.0f} rows/s, {show(ratio)} × the same without a pipeline ({rates[False].rate:,.0f})",
        f"≥ {RATIO} × without",
        ratio >= RATIO,
        {"ratio": ratio},
    )
    yield from _derive(bench.size(1_000_000, 20_000))


def _derive(count: int) -> Iterator[Row]:
    draw = random.Random(1)
    columns = {name: pa.chunked_array([[draw.uniform(-10, 100) for _ in range(count)]]) for name in ("price", "weight")}
    types = bound_types(parse_contract({"name": "bench", "fields": FIELDS}))
    known = {name: Column(name, "float", pa.float64()) for name in columns}
    node = compile_expression(EXPRESSION, known, types, "/value")
    ours, (values, errors) = _timed(lambda: evaluate(node, columns, count))
    price, weight = (column.combine_chunks() for column in columns.values())
    hand, by_hand = _timed(
        lambda: pc.if_else(pc.greater(weight, 0), pc.add(pc.multiply(price, 1.19), pc.divide(weight, 1000)), price)
    )
    code = compile(EXPRESSION, "bench", "eval")
    few = min(count, 100_000)
    pairs = list(zip(price.to_pylist()[:few], weight.to_pylist()[:few], strict=True))
    row, by_row = _timed(lambda: [eval(code, {}, {"price": p, "weight": w}) for p, w in pairs])
    row *= count / few
    if errors or values.combine_chunks() != by_hand or by_row != by_hand.to_pylist()[:few]:
        raise RuntimeError("the three ways do not give the same numbers")
    yield Row(
        f"one derive over {count:,} rows ({EXPRESSION}), ms",
        f"{show(ours * 1000)}: {show(ours / hand)} × by hand in pyarrow.compute ({show(hand * 1000)}), "
        f"{show(row / ours)} × as fast as Python's eval of each row",
        f"≤ {BY_HAND:g} × by hand, ≥ {BY_ROW:g} × a row at a time",
        ours <= BY_HAND * hand and row >= BY_ROW * ours,
        {"ours": ours, "by_hand": hand, "by_row": row},
    )


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the shortest of five times, in seconds, and the result."""
    times, result = [], None
    for _ in range(5):
        started = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - started)
    return min(times), result


def _file(bench: Bench) -> Path:
    path, draw = bench.folder / "expressions.csv", random.Random(7)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field["name"] for field in FIELDS])
        for number in range(bench.size(300_000, 10_000)):
            price, weight = round(draw.uniform(1, 500), 2), draw.randrange(1, 5000)
            writer.writerow(
                [number, price, weight, draw.choice(["red", "blue"]), draw.choice("SML"), f" Note {number} "]
            )
    return path


def _once(bench: Bench, path: Path, count: int, piped: bool) -> Load:
    name = "bench_expressions"
    bench.client.create_dataset({"name": name, "fields": FIELDS, **(PIPED if piped else {})}, wait=True)
    bench.wait_idle()
    load = upload(bench, name, path, count)
    stored = bench.row(f"SELECT count(*), count(*) FILTER (WHERE size = 'small') FROM data.{name}")
    if stored[0] != count or (stored[1] > 0) != piped:
        raise RuntimeError(f"{count} rows were sent; stored {stored}")
    bench.drop(name)
    return load
