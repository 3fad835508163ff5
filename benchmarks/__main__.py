"""``python -m benchmarks [names] [--quick] [--out FILE]``: starts a stack, measures it, prints the table."""

import argparse
import importlib
import sys
import traceback
from pathlib import Path

from benchmarks import SCENARIOS
from benchmarks.harness import Bench
from benchmarks.machine import describe_machine, describe_versions, read_durability
from benchmarks.report import Report


def main() -> int:
    """Return 0 if everything could be run, whatever was measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=f"scenarios (default: all): {', '.join(SCENARIOS)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that everything runs")
    parser.add_argument("--out", type=Path, help="the JSON file (default: benchmarks/results/<date>.json)")
    parser.add_argument("--data", type=Path, help="where the temporary data folder is made: the disk that is measured")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(SCENARIOS))
    if unknown:
        parser.error(f"there is no scenario {', '.join(unknown)}; the scenarios are: {', '.join(SCENARIOS)}")
    report = Report(options.quick)
    bench = Bench(options.quick, _say, options.data)
    try:
        report.machine = describe_machine(bench.folder)
        bench.up()
        report.versions = describe_versions(bench)
        report.durability = read_durability(bench)
        for name in SCENARIOS:
            if not options.names or name in options.names:
                _run(name, bench, report)
    finally:
        bench.close()
    report.print()
    out = options.out or Path(__file__).parent / "results" / f"{report.date:%Y-%m-%dT%H%M}.json"
    report.write(out)
    print(f"written to {out}")
    return 1 if report.failed else 0


def _run(name: str, bench: Bench, report: Report) -> None:
    _say(name)
    try:
        for row in importlib.import_module(f"benchmarks.{name}").run(bench):
            report.add(name, row)
            _say(f"  {row.what.strip()}: {row.measured}")
    except Exception as error:  # noqa: BLE001 - one scenario that fails must not cost the figures of the others
        report.failed[name] = f"{type(error).__name__}: {error}"
        traceback.print_exc()


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
