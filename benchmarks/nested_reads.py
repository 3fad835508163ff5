"""A nested read of three levels over HTTP beside one statement with json_agg that gives the same document.

20 continents, 480 countries and 9,500 cities: 10,000 records in one answer.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.figures import Row, Times, show
from benchmarks.harness import Bench

CONTINENTS, COUNTRIES, CITIES = (f"bench_nested_{name}" for name in ("continents", "countries", "cities"))
FACTOR = 1.5
ROUNDS = 200
_NUMBERS = ("area", "population", "roads", "trees")
# Children looked up for each parent, and grouped beforehand: the faster one is what counts.
_LOOKED_UP = """
SELECT json_build_object('records', json_agg(r ORDER BY r.name), 'next_page_token', null) FROM (
    SELECT a.name, {a}, json_build_object('{countries}', coalesce((SELECT json_agg(b ORDER BY b.name) FROM (
        SELECT b.name, {b}, b.continent, json_build_object('{cities}', coalesce((
            SELECT json_agg(c ORDER BY c.name) FROM (
                SELECT c.name, {c}, c.country FROM data.{cities} AS c WHERE c.country = b.name) AS c
        ), '[]')) AS _children FROM data.{countries} AS b WHERE b.continent = a.name) AS b
    ), '[]')) AS _children FROM data.{continents} AS a) AS r
"""
_GROUPED = """
WITH c AS (SELECT c.country, json_agg(c ORDER BY c.name) AS list FROM (
    SELECT c.name, {c}, c.country FROM data.{cities} AS c) AS c GROUP BY c.country
), b AS (SELECT b.continent, json_agg(b ORDER BY b.name) AS list FROM (
    SELECT b.name, {b}, b.continent, json_build_object('{cities}', coalesce(c.list, '[]')) AS _children
    FROM data.{countries} AS b LEFT JOIN c ON c.country = b.name) AS b GROUP BY b.continent
)
SELECT json_build_object('records', json_agg(r ORDER BY r.name), 'next_page_token', null) FROM (
    SELECT a.name, {a}, json_build_object('{countries}', coalesce(b.list, '[]')) AS _children
    FROM data.{continents} AS a LEFT JOIN b ON b.continent = a.name) AS r
"""


def run(bench: Bench) -> Iterator[Row]:
    """Yield the time of the read as a multiple of the statement's, and of what the API does without the client."""
    count = _load(bench)
    rounds = bench.size(ROUNDS, 5, brief=100)

    def read() -> Any:
        return list(bench.client.records(CONTINENTS, expand=["children"], depth=2, page_size=1000))

    with bench.connect() as connection, connection.cursor() as cursor:

        def ask(sql: str) -> Callable[[], Any]:
            def work() -> Any:
                # psycopg2 parses the document, as the client does.
                cursor.execute(sql)
                return cursor.fetchone()[0]["records"]

            return work

        ways = {"read": read, "looked up": ask(_sql(_LOOKED_UP)), "grouped": ask(_sql(_GROUPED))}
        answers = [work() for work in ways.values()]
        if not answers[0] == answers[1] == answers[2]:
            raise RuntimeError("the answers differ")
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, work in ways.items():
                started = time.perf_counter()
                work()
                times[name].append((time.perf_counter() - started) * 1000)
    found = {name: Times.of(spent) for name, spent in times.items()}
    sql = min(found["looked up"].p50, found["grouped"].p50)
    ratio = found["read"].p50 / sql
    yield Row(
        f"nested read of 3 levels, {count:,} records, over HTTP, ms",
        f"p50 {show(found['read'].p50)}, {show(ratio)} × one statement with json_agg ({show(sql)})",
        f"≤ {FACTOR:g} × the statement",
        ratio <= FACTOR,
        {name: one.values() for name, one in found.items()},
        figure=ratio,
        lower=True,
    )
    for name in (CITIES, COUNTRIES, CONTINENTS):
        bench.drop(name)


def _sql(template: str) -> str:
    columns = {letter: ", ".join(f"{letter}.{name}" for name in _NUMBERS) for letter in "abc"}
    return template.format(continents=CONTINENTS, countries=COUNTRIES, cities=CITIES, **columns)


def _load(bench: Bench) -> int:
    levels = (
        (CONTINENTS, 20, "", CONTINENTS),
        (COUNTRIES, 480, "continent", CONTINENTS),
        (CITIES, bench.size(9_500, 950), "country", COUNTRIES),
    )
    names: dict[str, list[str]] = {}
    for dataset, count, field, parent in levels:
        fields: list[Any] = [{"name": "name", "type": "text", "required": True, "max_length": 100}]
        fields += [{"name": name, "type": "integer"} for name in _NUMBERS]
        body: dict[str, Any] = {"name": dataset, "fields": fields, "key": ["name"]}
        if field:
            fields.append({"name": field, "type": "text", "required": True, "max_length": 100})
            body["parents"] = [{"field": field, "dataset": parent}]
        bench.client.create_dataset(body, wait=True)
        names[dataset] = [f"{dataset.removeprefix('bench_nested_')} {number:05}" for number in range(count)]
        above = names[parent]
        records = [
            {
                "name": name,
                **{member: number * place for place, member in enumerate(_NUMBERS, 1)},
                **({field: above[number % len(above)]} if field else {}),
            }
            for number, name in enumerate(names[dataset])
        ]
        bench.client.submit(dataset, records, wait=True)
    bench.wait_idle()
    with bench.connect() as connection, connection.cursor() as cursor:
        for dataset in names:
            cursor.execute(f"ANALYZE data.{dataset}")
    return sum(len(found) for found in names.values())
