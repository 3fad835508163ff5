"""After a scenario that failed: everything up again, and what it has left dropped, for those that follow."""

import traceback

from benchmarks.harness import SMALL, Bench


def tidy(bench: Bench) -> None:
    try:
        bench.up()
        for dataset in list(bench.client.datasets()):
            if dataset["name"] != SMALL["name"]:
                bench.client.drop_dataset(dataset["name"], wait=True)
    except Exception:  # noqa: BLE001 - the next scenario will say what is wrong
        traceback.print_exc()
