"""Aggregates to the last byte that a client has, beside the SQL itself by COPY, DuckDB and pandas on an export.

1,000 sensors that send bursts of 100 records, one a second, at the beginning of each hour of ten.
"""

import csv
import datetime as dt
import io
import random
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd

from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.uploads import upload

NAME = "bench_aggregates"
CONTRACT = {
    "name": NAME,
    "fields": [
        {"name": "sensor", "type": "text", "required": True, "max_length": 16},
        {"name": "at", "type": "timestamp", "required": True},
        {"name": "value", "type": "float"},
    ],
    "key": ["sensor", "at"],
    "time_field": "at",
}
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
HOURS, BURST = 10, 100
ROUNDS = 5
_SHOWN = "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
_MEAN = "avg(value) OVER (PARTITION BY sensor ORDER BY at RANGE BETWEEN '4.999999 s' PRECEDING AND CURRENT ROW)"
HOURLY: dict[str, Any] = {"every": "1h", "by": ["sensor"], "measures": [{"agg": "mean", "field": "value"}]}
ROLLING: dict[str, Any] = {
    "fields": ["sensor", "at", "value"],
    "rolling": [{"column": "value", "window": "5s", "agg": "mean", "by": ["sensor"], "as": "smooth"}],
}
# What is asked for, the same in SQL, in DuckDB and in pandas, and how much longer it may take than the SQL.
CASES: list[tuple[str, dict[str, Any], str, str, Callable[[pd.DataFrame], object], float]] = [
    (
        "hourly mean by sensor",
        HOURLY,
        f"SELECT date_trunc('hour', at) AS h, sensor, avg(value) FROM data.{NAME} GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT date_trunc('hour', \"at\"), sensor, avg(value) FROM '{file}' GROUP BY 1, 2 ORDER BY 1, 2",
        lambda frame: frame.groupby([frame["at"].dt.floor("h"), "sensor"])["value"].mean(),
        1.2,
    ),
    (
        "hourly mean by sensor, the calendar of Berlin",
        {**HOURLY, "zone": "Europe/Berlin"},
        f"SELECT date_trunc('hour', at) AS h, sensor, avg(value) FROM data.{NAME} GROUP BY 1, 2 ORDER BY 1, 2",
        "SELECT date_trunc('hour', \"at\"), sensor, avg(value) FROM '{file}' GROUP BY 1, 2 ORDER BY 1, 2",
        lambda frame: frame.groupby([frame["at"].dt.floor("h"), "sensor"])["value"].mean(),
        1.2,
    ),
    (
        "rolling 5 s mean by sensor, all rows",
        ROLLING,
        f"SELECT sensor, {_SHOWN}, value, {_MEAN} FROM data.{NAME} ORDER BY at, sensor",
        'SELECT sensor, "at", value, avg(value) OVER (PARTITION BY sensor ORDER BY "at" RANGE BETWEEN'
        " INTERVAL 4999999 MICROSECONDS PRECEDING AND CURRENT ROW) FROM '{file}' ORDER BY \"at\", sensor",
        lambda frame: frame.sort_values("at").set_index("at").groupby("sensor")["value"].rolling("5s").mean(),
        1.5,
    ),
]


def run(bench: Bench) -> Iterator[Row]:
    """Yield the median time of each case and its ratio to that of the SQL."""
    sensors = bench.size(1000, 20, brief=200)
    count = sensors * HOURS * BURST
    bench.client.create_dataset(CONTRACT, wait=True)
    upload(bench, NAME, _file(bench, sensors), count)
    bench.wait_idle()
    exported, answered = bench.folder / "aggregates.parquet", bench.folder / "answer.csv"
    bench.client.export(NAME, exported)
    with bench.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"VACUUM ANALYZE data.{NAME}")
        for what, request, sql, duck, panda, target in CASES:
            times: dict[str, list[float]] = {"ours": [], "sql": [], "duckdb": [], "pandas": []}
            for _ in range(bench.size(ROUNDS, 1, brief=3)):
                copied = io.BytesIO()
                works: dict[str, Callable[[], object]] = {
                    "ours": lambda asked=request: bench.client.aggregate_file(NAME, answered, **asked),  # type: ignore[misc]
                    "sql": lambda text=sql, file=copied: cursor.copy_expert(  # type: ignore[misc]
                        f"COPY ({text}) TO STDOUT (FORMAT csv)", file
                    ),
                    "duckdb": lambda text=duck: _in_duckdb(text, exported),  # type: ignore[misc]
                    "pandas": lambda work=panda: work(pd.read_parquet(exported, dtype_backend="pyarrow")),  # type: ignore[misc]
                }
                for name, work in works.items():
                    started = time.perf_counter()
                    work()
                    times[name].append(time.perf_counter() - started)
                rows = answered.read_bytes().count(b"\n") - 1
                assert rows == copied.getvalue().count(b"\n"), what
            ours, by_sql, by_duck, by_pandas = (statistics.median(found) for found in times.values())
            yield Row(
                f"{what}, {count:,} rows, {rows:,} rows of CSV: POST to the last byte",
                f"{show(ours)} s, {show(ours / by_sql)} × the SQL by COPY ({show(by_sql)} s); on the exported Parquet "
                f"DuckDB {show(by_duck)} s, pandas {show(by_pandas)} s",
                f"≤ {target:g} × the SQL",
                ours <= target * by_sql,
                {"rows": count, "answered": rows, **times},
                figure=ours / by_sql,
                lower=True,
            )
    bench.drop(NAME)


def _in_duckdb(sql: str, file: Path) -> None:
    found = duckdb.sql(sql.format(file=file))
    assert found is not None  # a SELECT
    found.arrow().read_all()


def _file(bench: Bench, sensors: int) -> Path:
    path = bench.folder / "aggregates.csv"
    draw = random.Random(52)
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["sensor", "at", "value"])
        for hour in range(HOURS):
            for second in range(BURST):
                at = (START + dt.timedelta(hours=hour, seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")
                rows.writerows([f"sensor-{sensor:04}", at, round(draw.gauss(20, 5), 3)] for sensor in range(sensors))
    return path
