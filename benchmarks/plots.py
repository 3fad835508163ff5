"""Draws the figures of a report as PNG: ``python -m benchmarks.plots REPORT.json FOLDER``, in the peers' environment.

What a report does not have is not drawn. Every plot has its date and its machine below it, and a light ground of its
own, so that it can be read on light and on dark pages.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

Report = dict[str, Any]

OURS, THEIRS, LIMIT = "#b5541c", "#5b7a8c", "#9a9a92"
_LOWEST_RECALL = 0.8
_STYLE = {
    "figure.facecolor": "#fbfaf7", "axes.facecolor": "#fbfaf7", "axes.edgecolor": "#55534e", "text.color": "#222222",
    "axes.labelcolor": "#222222", "xtick.color": "#333333", "ytick.color": "#333333", "axes.spines.top": False,
    "axes.spines.right": False, "font.size": 10, "axes.grid": False, "figure.dpi": 110, "legend.frameon": False,
}  # fmt: skip


def main() -> None:
    report, folder = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    draws: dict[str, Callable[[Report], Figure | None]] = {
        "loading": loading, "load-2m": large_load, "search": searching, "jobs": jobs,
    }  # fmt: skip
    plt.rcParams.update(_STYLE)  # type: ignore[arg-type] # names of settings, as text
    for name, draw in draws.items():
        figure = draw(report)
        if figure is not None:
            figure.text(0.01, 0.01, _caption(report), fontsize=7, color="#66645e", wrap=True)
            figure.savefig(folder / f"{name}.png", metadata={"Software": None})
            plt.close(figure)
            print(folder / f"{name}.png")


def loading(report: Report) -> Figure | None:
    """Rows per second of every way to load that the report has, longest bar first."""
    bars = sorted(_rates(report), key=lambda bar: bar[1])
    if not bars:
        return None
    figure, axes = _figure(1.1 + 0.36 * len(bars))
    names, rates, colours = zip(*bars, strict=True)
    axes.barh(names, rates, color=colours, height=0.7)
    for place, rate in enumerate(rates):
        axes.annotate(f" {rate:,.0f}", (rate, place), va="center", fontsize=9)
    _title(figure, "Loading rows with 256-d vectors, rows per second until searchable")
    axes.margins(x=0.12)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.locator_params(axis="x", nbins=5)
    return figure


def _rates(report: Report) -> Iterator[tuple[str, float, str]]:
    rows = _rows(report, "ingest_parquet")
    for start, name, colour in (
        ("Parquet", "Gristmill, Parquet over HTTP", OURS),
        ("Arrow", "Gristmill, Arrow over HTTP", OURS),
        ("  raw binary COPY", "raw binary COPY, no index (the limit)", LIMIT),
        ("  Chroma", "Chroma server", THEIRS),
        ("  LangChain", "LangChain PGVectorStore", THEIRS),
        ("  SQLAlchemy", "SQLAlchemy ORM + pgvector", THEIRS),
    ):
        values: dict[str, Any] = next((row["values"] for row in rows if row["what"].startswith(start)), {})
        if "rows_per_second" in values:
            yield name, values["rows_per_second"], colour
    text = _rows(report, "ingest_ndjson")
    if text:
        yield "Gristmill, NDJSON text, embedded by it", text[0]["values"]["rows_per_second"], OURS


def large_load(report: Report) -> Figure | None:
    """Rows done, and rows without an index, over the time of the large loads."""
    loads = [row for row in _rows(report, "load_2m") if row["values"].get("series")]
    if not loads:
        return None
    figure = plt.figure(figsize=(7.4, 4.2), layout="constrained")
    _make_room(figure, 0.06)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    for row, colour, style in zip(loads, (LIMIT, OURS), ("--", "-"), strict=False):
        seconds, done, tail = zip(*row["values"]["series"], strict=True)
        name = "builds held back" if "held back" in row["what"] else "sealing on"
        upper.plot(seconds, [rows / 1e6 for rows in done], style, color=colour, label=name)
        lower.plot(seconds, [rows / 1e6 for rows in tail], style, color=colour)
    _title(figure, f"Loading {loads[0]['values']['rows']:,} rows of 256-d in one go")
    upper.set_ylabel("rows, millions")
    upper.legend(loc="lower right")
    lower.set_ylabel("without an index,\nmillions")
    lower.set_xlabel("seconds")
    for axes in (upper, lower):
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
    return figure


def searching(report: Report) -> Figure | None:
    """Recall against the median latency at every width of the search that was tried, of every size; and by default."""
    rows = [row["values"] for row in [*_rows(report, "search_60k"), *_rows(report, "search_recall")]]
    curves = [values for values in rows if values.get("curve_of")]
    if not curves:
        return None
    marks = dict(zip(sorted({values["rows"] for values in curves}), "osD^v", strict=False))
    colours = {"Gristmill": OURS, "Chroma": THEIRS, "LangChain": "#3c8c6e"}
    figure, axes = _figure(4.6)
    for values in sorted(curves, key=lambda values: (list(colours).index(values["curve_of"]), values["rows"])):
        tried = values["tried"]
        name, count = values["curve_of"], values["rows"]
        axes.plot([one["recall"] for one in tried], [one["p50_ms"] for one in tried], "-" + marks[count],
                  color=colours[name], label=f"{name}, {count:,} rows", markersize=4, linewidth=1)  # fmt: skip
    chosen = [values for values in rows if "recall_target" in values and values["recall_target"] is None]
    if chosen:
        axes.plot([values["recall"] for values in chosen], [values["p50_ms"] for values in chosen], "*",
                  color="#222222", label="Gristmill, by default", markersize=9)  # fmt: skip
    _title(figure, "Search, k 10, vectors of 256-d: recall and median latency")
    axes.set_xlabel("recall@10")
    axes.set_ylabel("p50, ms")
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:g}"[0] in "25" else "")
    # Below, nobody would search.
    axes.set_xlim(left=_LOWEST_RECALL)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure


def jobs(report: Report) -> Figure | None:
    """Small jobs done per second."""
    rows = _rows(report, "job_throughput")
    rates = [row["values"].get("done_per_second") for row in rows]
    found = [rate for rate in rates if rate]
    if len(found) < 2:
        return None
    figure, axes = _figure(1.7)
    axes.barh(["procrastinate, FastAPI", "Gristmill"], found[::-1], color=[THEIRS, OURS], height=0.6)
    for place, rate in enumerate(found[::-1]):
        axes.annotate(f" {rate:,.0f}", (rate, place), va="center", fontsize=9)
    _title(figure, "Small jobs over HTTP, submit to done, per second")
    axes.margins(x=0.1)
    return figure


def _figure(height: float) -> tuple[Figure, Axes]:
    figure = plt.figure(figsize=(7.4, height), layout="constrained")
    _make_room(figure, 0.25 / height)
    return figure, figure.subplots()


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=11, fontweight="bold")


def _rows(report: Report, scenario: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = report["scenarios"].get(scenario, [])
    return found


def _caption(report: Report) -> str:
    machine = report["machine"]
    quick = "QUICK, MEANS NOTHING. " if report["quick"] else ""
    return (
        f"{quick}{report['date'][:10]}, {machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, "
        f"{machine['system']}, {machine['disk']}; everything on one machine, fsync on"
    )


def _make_room(figure: Figure, low: float) -> None:
    """Leave the lowest part of the figure to the caption. low: a fraction of its height."""
    engine = figure.get_layout_engine()
    assert isinstance(engine, ConstrainedLayoutEngine)
    engine.set(rect=(0, low, 1, 1 - low))


if __name__ == "__main__":
    main()
