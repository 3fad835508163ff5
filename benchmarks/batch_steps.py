"""melt, pivot and rolling on a batch beside the plain calls of pandas; a view beside pandas and the read."""

import csv
import datetime as dt
import io
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg2
import pyarrow as pa

from benchmarks.figures import Row, show
from benchmarks.harness import Bench
from benchmarks.steps import timed
from benchmarks.uploads import upload
from gristmill.bootstrap.embedders import build_embedders
from gristmill.bootstrap.steps import build_steps
from gristmill.core.allocator import reuse_freed_blocks
from gristmill.core.config import Settings
from gristmill.datasets.contract import load_contract
from gristmill.datasets.pipeline import bind_pipeline
from gristmill.transforms.run import to_frame
from gristmill.transforms.spec import StepContext

NAME, ROWS, ROUNDS = "bench_view", 100_000, 15
STEP_LIMIT, VIEW_LIMIT = 1.2, 1.3
START = dt.datetime(2026, 1, 31, tzinfo=dt.UTC)
FIELDS: list[dict[str, Any]] = [
    {"name": "at", "type": "timestamp", "required": True},
    {"name": "sensor", "type": "text", "required": True, "max_length": 32},
    {"name": "kind", "type": "text", "max_length": 32},
    {"name": "value", "type": "float"},
    {"name": "other", "type": "float"},
]
ROLLING = {"op": "rolling", "column": "value", "window": "5s", "agg": "mean", "as": "moving_avg"}


def _moving(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with the mean of the last five seconds."""
    mean: Any = frame.rolling("5s", on="at")["value"].mean()
    return frame.assign(moving_avg=mean)


CASES: list[tuple[dict[str, Any], Callable[[pd.DataFrame], Any], str]] = [
    (
        {"op": "melt", "index": ["at", "sensor"], "columns": ["value", "other"], "value": "reading"},
        lambda frame: frame.melt(id_vars=["at", "sensor"], value_vars=["value", "other"], value_name="reading"),
        'melt(id_vars=["at", "sensor"], value_vars=["value", "other"])',
    ),
    (
        {"op": "pivot", "index": ["sensor"], "columns": "kind", "column": "value", "agg": "mean",
         "values": [f"k{n}" for n in range(7)]},
        lambda frame: frame.pivot_table(index="sensor", columns="kind", values="value", aggfunc="mean"),
        'pivot_table(index="sensor", columns="kind", values="value", aggfunc="mean")',
    ),
    (
        {**ROLLING, "time": "at"},
        _moving,
        'assign(moving_avg=rolling("5s", on="at")["value"].mean())',
    ),
    (
        {**ROLLING, "time": "at", "by": ["sensor"]},
        lambda frame: frame.groupby("sensor").rolling("5s", on="at")["value"].mean(),
        'groupby("sensor").rolling("5s", on="at")["value"].mean()',
    ),
]  # fmt: skip


def run(bench: Bench) -> Iterator[Row]:
    """Yield for each step its time as a multiple of the plain call's, then that of a view."""
    settings = Settings()
    registry = build_steps(settings, build_embedders(settings, None), None)
    # As in a worker.
    reuse_freed_blocks()
    frame = to_frame(_table(bench.size(ROWS, 2_000)))
    for step, plain, called in CASES:
        contract = load_contract({"name": "bench", "fields": FIELDS, "pipeline": [step]})
        (bound,) = bind_pipeline(contract, registry)
        ours = timed(partial(bound.transform, frame, StepContext()), ROUNDS)
        theirs = timed(partial(plain, frame), ROUNDS if "by" not in step else 2)
        name = f"{step['op']}{' by 1,000 groups' if 'by' in step else ''}"
        yield Row(
            f"{name} on a batch of {len(frame):,} rows, ms",
            f"{show(ours * 1000)}: {show(ours / theirs)} × `{called}` ({show(theirs * 1000)})",
            f"≤ {STEP_LIMIT} ×",
            ours <= STEP_LIMIT * theirs,
            {"ours": ours, "plain": theirs},
        )
    yield _view(bench)


def _view(bench: Bench) -> Row:
    """A view over a window, as an Arrow stream, beside the rows read by the same driver and the plain call on them."""
    count = bench.size(ROWS, 2_000)
    contract = {
        "name": NAME,
        "fields": FIELDS,
        "key": ["sensor", "at"],
        "time_field": "at",
        "views": {"smooth": [ROLLING]},
    }
    bench.client.create_dataset(contract, wait=True)
    upload(bench, NAME, _file(bench, count), count)
    bench.wait_idle()
    window = {"start": START, "end": START + dt.timedelta(days=10)}

    def ours() -> None:
        answer = bench.client.view_bytes(NAME, "smooth", "arrow", start=window["start"], end=window["end"])
        found = pa.ipc.open_stream(io.BytesIO(answer)).read_all()
        assert (found.num_rows, found.column_names[-1]) == (count, "moving_avg")

    query = f"SELECT at, sensor, kind, value, other FROM data.{NAME} WHERE at >= %s AND at <= %s ORDER BY at, sensor"

    def theirs() -> None:
        with psycopg2.connect(bench.stack.settings().database_url) as connection, connection.cursor() as cursor:
            cursor.execute(query, (window["start"], window["end"]))
            frame = pd.DataFrame(cursor.fetchall(), columns=["at", "sensor", "kind", "value", "other"])
        assert len(_moving(frame)) == count

    view, plain = timed(ours, 5), timed(theirs, 5)
    return Row(
        f"view (rolling 5 s) over a window of {count:,} rows over HTTP, ms",
        f"{show(view * 1000)}: {show(view / plain)} × the rows by psycopg2 and pandas on them ({show(plain * 1000)})",
        f"≤ {VIEW_LIMIT} ×",
        view <= VIEW_LIMIT * plain,
        {"ours": view, "plain": plain},
    )


def _rows(count: int) -> Iterator[tuple[dt.datetime, str, str, float, float]]:
    draw = random.Random(5)
    for number in range(count):
        moment = START + dt.timedelta(seconds=number)
        yield moment, f"s{number % 1000}", f"k{number % 7}", round(draw.uniform(10, 100), 2), draw.random()


def _table(rows: int) -> pa.Table:
    at, sensor, kind, value, other = zip(*_rows(rows), strict=True)
    columns = {"sensor": sensor, "kind": kind, "value": value, "other": other}
    return pa.table(
        {"at": pa.array(at, pa.timestamp("us", "UTC")), **{name: pa.array(one) for name, one in columns.items()}}
    )


def _file(bench: Bench, rows: int) -> Path:
    path = bench.folder / "view.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([field["name"] for field in FIELDS])
        writer.writerows((moment.isoformat(), *rest) for moment, *rest in _rows(rows))
    return path
