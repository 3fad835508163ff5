"""Filters on a declared member of a json field beside the same on a typed field; many records by their keys.

1,000,000 records that are one number each, as a field and as a member: both have an index.
"""

import csv
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench
from benchmarks.uploads import upload

NAME = "bench_members"
CONTRACT = {
    "name": NAME,
    "fields": [
        {"name": "k", "type": "integer", "required": True},
        {"name": "n", "type": "integer", "filterable": True},
        {"name": "word", "type": "text", "max_length": 32, "filterable": True},
        {
            "name": "meta",
            "type": "json",
            "members": [{"path": "n", "type": "number"}, {"path": "word", "type": "text"}],
        },
    ],
    "key": ["k"],
}
FACTOR, KEYS_MS = 2.0, 30.0
ROUNDS = 200


def run(bench: Bench) -> Iterator[Row]:
    """Yield p50 of a page of ten records by equality and by range, for both; and that of 1,000 records by keys."""
    count = bench.size(1_000_000, 20_000, brief=200_000)
    bench.client.create_dataset(CONTRACT, wait=True)
    upload(bench, NAME, _file(bench, count), count)
    bench.wait_idle()
    with bench.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"ANALYZE data.{NAME}")
    draw = random.Random(7)
    for what, filters in (("number, equal", _equal), ("number, a range", _range), ("text, equal", _word)):
        times: dict[str, list[float]] = {"field": [], "member": []}
        for _ in range(bench.size(ROUNDS, 20, brief=100)):
            number = draw.randrange(count)
            for kind, prefix in (("field", ""), ("member", "meta.")):
                where = filters(prefix, number)
                started = time.perf_counter()
                page = list(bench.client.records(NAME, where=where, page_size=10))
                times[kind].append((time.perf_counter() - started) * 1000)
                assert page, where
        field, member = Times.of(times["field"]), Times.of(times["member"])
        yield Row(
            f"filter on a declared member ({what}), {count:,} rows, ms",
            f"p50 {show(member.p50)}, {show(member.p50 / field.p50)} × a typed field ({show(field.p50)})",
            f"≤ {FACTOR:g} × the field",
            member.p50 <= FACTOR * field.p50,
            {"field": field.values(), "member": member.values()},
            figure=member.p50 / field.p50,
            lower=True,
        )
    spent = []
    for _ in range(bench.size(ROUNDS, 20, brief=100)):
        keys = draw.sample(range(count), 1000)
        started = time.perf_counter()
        assert len(bench.client.get_many(NAME, keys)) == 1000
        spent.append((time.perf_counter() - started) * 1000)
    found = Times.of(spent)
    yield Row(
        f"1,000 records by their keys, of {count:,}",
        str(found),
        f"p50 ≤ {KEYS_MS:g} ms",
        found.p50 <= KEYS_MS,
        found.values(),
        figure=found.p50,
        lower=True,
    )
    bench.drop(NAME)


def _equal(prefix: str, number: int) -> dict[str, Any]:
    return {f"{prefix}n": number}


def _range(prefix: str, number: int) -> dict[str, Any]:
    return {f"{prefix}n": {"between": [number, number + 9]}}


def _word(prefix: str, number: int) -> dict[str, Any]:
    return {f"{prefix}word": f"word {number:08}"}


def _file(bench: Bench, count: int) -> Path:
    path = bench.folder / "members.csv"
    order = list(range(count))
    random.Random(1).shuffle(order)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["k", "n", "word", "meta"])
        for key, number in enumerate(order):
            word = f"word {number:08}"
            rows.writerow([key, number, word, f'{{"n":{number},"word":"{word}","more":[1,2,3]}}'])
    return path
