"""One of two versions that are measured in turn: a stack of its own, driven by lines of JSON on the standard input.

The bench is always the newest; what it imports as ``gristmill`` is what this process' interpreter has installed.
{"scenario": name} runs a scenario and answers its rows in one line on the standard output; the end of the input ends
the stack.
"""

import argparse
import importlib
import json
import signal
import sys
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.harness import Bench
from benchmarks.machine import describe_machine, describe_versions, read_durability
from benchmarks.tidy import tidy


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.side", description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    # Whatever prints goes to where people look; the answers alone go to the pipe.
    answers, sys.stdout = sys.stdout, sys.stderr
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(options.quick, _say, options.data, options.cache, brief=True)

    def answer(found: dict[str, Any]) -> None:
        print(json.dumps(found, default=str), file=answers, flush=True)

    try:
        machine = describe_machine(bench.folder)
        bench.up()
        answer({"machine": machine, "versions": describe_versions(bench), "durability": read_durability(bench)})
        for line in sys.stdin:
            answer(_run(bench, json.loads(line)["scenario"]))
    finally:
        bench.close()
    return 0


def _run(bench: Bench, scenario: str) -> dict[str, Any]:
    try:
        return {"rows": [asdict(row) for row in importlib.import_module(f"benchmarks.{scenario}").run(bench)]}
    except Exception as error:  # noqa: BLE001 - one scenario that fails must not cost the figures of the others
        traceback.print_exc()
        tidy(bench)
        return {"failed": f"{type(error).__name__}: {error}"}


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
