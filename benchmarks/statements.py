"""The SQL that the API sends, as Postgres' log shows it, to be sent again by hand."""

import re
import time
from collections.abc import Callable

from benchmarks.harness import Bench

_ENTRY = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.MULTILINE)
_STATEMENT = re.compile(r"duration: [\d.]+ ms  (?:statement|execute [^:]*): (.*)", re.DOTALL)


def logged(bench: Bench, act: Callable[[], None], part: str, wanted: int) -> list[str]:
    """Return the statements that contain ``part``, in order, that Postgres carried out while ``act`` ran.

    Raises RuntimeError if there are not ``wanted`` of them in the log.
    """
    log = next(service for service in bench.stack.status().services if service.name == "postgres").log
    with open(log, encoding="utf-8", errors="replace") as file:
        file.seek(0, 2)
        _log_all(bench, True)
        try:
            act()
        finally:
            _log_all(bench, False)
        deadline = time.monotonic() + 10
        text = ""
        while True:
            text += file.read()
            found = [match for entry in _entries(text) if (match := _STATEMENT.search(entry)) and part in match[1]]
            if len(found) >= wanted:
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(found)} of {wanted} statements are in the log")
            time.sleep(0.1)
    return [match[1].replace("\n\t", "\n").strip() for match in found]


def _entries(text: str) -> list[str]:
    starts = [match.start() for match in _ENTRY.finditer(text)]
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _log_all(bench: Bench, everything: bool) -> None:
    change = "SET log_min_duration_statement = 0" if everything else "RESET log_min_duration_statement"
    bench.rows(f"ALTER SYSTEM {change}")
    bench.rows("SELECT pg_reload_conf()")
    time.sleep(1)
