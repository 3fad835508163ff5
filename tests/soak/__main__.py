"""``python -m tests.soak [SECONDS] [--seed N] [--broker KIND] [--keep]``; exits 1 if a promise was broken."""

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.soak import SETTINGS, run
from tests.support.faults import FaultStack
from tests.support.servers import WANTED


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description="Random kills under load.")
    parser.add_argument("seconds", nargs="?", type=float, default=300, help="how long (300)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the choice of faults and batches")
    parser.add_argument("--broker", choices=("auto", "rabbitmq", "valkey"), default=WANTED)
    parser.add_argument("--keep", action="store_true", help="keep the logs; they are kept anyway if a promise broke")
    options = parser.parse_args()

    folder = Path(tempfile.mkdtemp(prefix="gristmill-soak-"))
    say(f"Soak: {options.seconds:g} s of random kills, seed {options.seed}, in {folder}")
    stack = FaultStack(folder, options.broker, **SETTINGS)
    try:
        stack.heal()
        say(f"Broker: {stack.broker.name}. Killing from now on.")
        report = run(stack, options.seconds, options.seed)
    finally:
        stack.close()
    say(str(report))
    if report.violations:
        say(f"\nA promise was broken. The logs are in {folder}; seed {options.seed}.")
        return 1
    if not options.keep:
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
