"""``python -m benchmarks [all | names] [--quick] [--out FILE]``: starts a stack, measures it, prints the table."""

import argparse
import importlib
import signal
import sys
import traceback
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import COMPARED, LARGE, SCENARIOS, against, search_recall, search_topics
from benchmarks.figures import Row
from benchmarks.harness import Bench
from benchmarks.machine import describe_machine, describe_versions, read_durability
from benchmarks.peers import PeerUnavailable
from benchmarks.report import Report
from benchmarks.tidy import tidy

_LEAST = 2000


def main() -> int:
    """Return 0 if everything could be run, whatever was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="name",
        help=f"scenarios, or all; default: all but {', '.join(LARGE)}. There are: {', '.join(SCENARIOS)}",
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--out", type=Path, help="the JSON file (default: benchmarks/results/<date>.json)")
    parser.add_argument("--merge", action="store_true", help="keep what other scenarios have in the JSON file")
    parser.add_argument("--prepare", action="store_true", help="only make the texts and install the peers")
    parser.add_argument("--data", type=Path, help="where the temporary data folder is made: the disk that is measured")
    parser.add_argument("--cache", type=Path, help="where texts and peers are kept (default: ~/.cache/gristmill-bench)")
    parser.add_argument("--load-rows", type=int, help="rows of load_2m, a multiple of 100,000 (default: 2,000,000)")
    parser.add_argument("--recall-rows", type=_numbers, help="sizes of search_recall (default: 60000,300000,1000000)")
    parser.add_argument(
        "--chroma-rows", type=_numbers, help="those at which Chroma is measured too (default: 60000,300000)"
    )
    parser.add_argument("--seal-seconds", type=int, help="longest wait of load_2m for the tail to be sealed (900)")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="CHECKOUT",
        help="measure the older version in this folder too, in turn with this one, and set the figures side by side",
    )
    parser.add_argument("--rounds", type=int, default=2, help="turns of each version with --against (2)")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - {*SCENARIOS, "all"})
    if unknown:
        parser.error(f"there is no scenario {', '.join(unknown)}; the scenarios are: {', '.join(SCENARIOS)}")
    wanted = [name for name in SCENARIOS if _wanted(name, options.names)]
    rows = {}
    if options.load_rows is not None:
        rows["load_2m"] = options.load_rows
        if options.load_rows <= 0 or options.load_rows % 100_000:
            parser.error("--load-rows is a multiple of 100,000")
    chosen = {name: getattr(options, name) for name in ("recall_rows", "chroma_rows") if getattr(options, name)}
    if any(count < _LEAST for counts in chosen.values() for count in counts):
        parser.error(f"sizes of search_recall are at least {_LEAST:,}: fewer rows have no index")
    if options.seal_seconds is not None:
        rows["seal_seconds"] = options.seal_seconds
    report = Report(options.quick)
    out = options.out or Path(__file__).parent / "results" / f"{report.date:%Y-%m-%dT%H%M}.json"
    if options.merge and out.exists():
        report.keep(out)
    # Whoever ends the bench gets its stack ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if options.against is not None:
        _against(options, report, out)
        return _end(report, out)
    bench = Bench(options.quick, _say, options.data, options.cache, rows, chosen=chosen)
    try:
        # Before anything is measured: it keeps both cores busy for minutes.
        _prepare(bench, wanted)
        if options.prepare:
            return 0
        report.machine = describe_machine(bench.folder)
        bench.up()
        report.versions = describe_versions(bench)
        report.durability = read_durability(bench)
        for name in wanted:
            _run(name, bench, report, out)
    finally:
        bench.close()
    return _end(report, out)


def _numbers(text: str) -> list[int]:
    return sorted({int(part) for part in text.split(",")})


def _end(report: Report, out: Path) -> int:
    report.print()
    report.write(out)
    print(f"written to {out}")
    return 1 if report.failed else 0


def _wanted(name: str, names: list[str]) -> bool:
    if not names:
        return name not in LARGE
    return name in names or "all" in names


def _prepare(bench: Bench, wanted: list[str]) -> None:
    """Make the rows that the scenarios will ask for, and the environment of the peers."""
    # load_2m sends some more when all is done; 2 GB as Parquet are 1.8 million.
    asked = {"load_2m": bench.asked.get("load_2m", 2_000_000) + 100_000,
             "search_recall": max(search_recall.sizes(bench)[0]), "search_topics": search_topics.ROWS,
             "upload_2gb": 2_000_000}  # fmt: skip
    rows = [asked[name] for name in wanted if name in asked]
    if rows and not bench.quick:
        bench.corpus.files(max(rows))
    if {"ingest_ndjson", "ingest_parquet", "job_throughput", "search_60k", "search_recall"} & set(wanted):
        try:
            assert bench.peers.python
        except PeerUnavailable as error:
            _say(f"  peers: {error}")


def _run(name: str, bench: Bench, report: Report, out: Path) -> None:
    _say(f"{datetime.now(UTC):%H:%M:%S} {name}")
    try:
        for row in importlib.import_module(f"benchmarks.{name}").run(bench):
            report.add(name, row)
            # Whoever stops the bench, or is stopped, loses what was not measured yet and nothing else.
            report.write(out)
            _say(f"  {row.what.strip()}: {row.measured}")
    except Exception as error:  # noqa: BLE001 - one scenario that fails must not cost the figures of the others
        report.failed[name] = f"{type(error).__name__}: {error}"
        traceback.print_exc()
        tidy(bench)


def _against(options: argparse.Namespace, report: Report, out: Path) -> None:
    """Measure an older checkout and this one in turn."""
    given = ["--quick"] if options.quick else []
    for name in ("data", "cache"):
        if getattr(options, name) is not None:
            given += [f"--{name}", str(getattr(options, name).resolve())]
    sides = against.open_sides(options.against.resolve(), given)
    try:
        report.machine, report.durability = sides[1].about["machine"], sides[1].about["durability"]
        report.versions = {f"{side.name} {name}": value for side in sides for name, value in _own(side).items()}

        def add(scenario: str, row: Row) -> None:
            report.add(scenario, row)
            report.write(out)

        wanted = [name for name in SCENARIOS if name in (options.names or COMPARED)]
        against.compare(sides, wanted, options.rounds, _say, add, report.failed.__setitem__)
    finally:
        for side in sides:
            side.close()


def _own(side: against.Side) -> dict[str, str]:
    """Return the versions that may differ between the two."""
    found: dict[str, str] = side.about["versions"]
    return found if side.name == against.NEW else {"gristmill": found["gristmill"]}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
