"""The SQL that the API sends, as Postgres' log shows it, to be sent again by hand."""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.figures import Times
from benchmarks.harness import Bench

_ENTRY = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.MULTILINE)
_STATEMENT = re.compile(r"LOG:  duration: [\d.]+ ms  statement: (.*)", re.DOTALL)
_PREPARED = re.compile(r"DETAIL:  prepare: (PREPARE (\w+).*)", re.DOTALL)


@dataclass(frozen=True)
class Logged:
    """preparations: the PREPARE of each name that a message executes. messages: as they were sent, in order."""

    preparations: list[str]
    messages: list[str]


def logged(bench: Bench, act: Callable[[], None], part: str, wanted: int) -> Logged:
    """Return the messages with a statement that contains ``part``, prepared or not, that were sent while ``act`` ran.

    Raises RuntimeError if there are fewer than ``wanted`` of them in the log.
    """
    log = next(service for service in bench.stack.status().services if service.name == "postgres").log
    assert log is not None  # Postgres runs here
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
            found = _read(text, part)
            if len(found.messages) >= wanted:
                return found
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(found.messages)} of {wanted} statements are in the log")
            time.sleep(0.1)


def run_raw(bench: Bench, act: Callable[[], None], searches: int, k: int, rounds: int) -> Times:
    """Return the times of the statements that the API sends for the last ``searches`` that ``act`` makes, sent by hand.

    act: makes each search twice. Raises RuntimeError where a statement does not find ``k`` rows.
    """
    found = logged(bench, act, "<=>", 2 * searches)
    times = []
    with bench.connect() as connection, connection.cursor() as cursor:
        for preparation in found.preparations:
            cursor.execute(preparation)
        for turn in range(rounds + 1):
            for text in found.messages[-searches:]:
                began = time.perf_counter()
                cursor.execute(text)
                hits = cursor.fetchall()
                if turn:
                    times.append((time.perf_counter() - began) * 1000)
                if len(hits) != k:
                    raise RuntimeError(f"the statement run raw found {len(hits)} rows: {text[:300]}")
    return Times.of(times)


def _read(text: str, part: str) -> Logged:
    starts = [match.start() for match in _ENTRY.finditer(text)]
    entries = [
        text[start:end].replace("\n\t", "\n").strip()
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True)
    ]
    prepared = {match[2]: match[1] for entry in entries if (match := _PREPARED.search(entry))}
    near = [name for name, sql in prepared.items() if part in sql]
    sent = [match[1] for entry in entries if (match := _STATEMENT.search(entry))]
    messages = [
        message
        for message in sent
        if not message.startswith("PREPARE") and (part in message or any(f"EXECUTE {name}" in message for name in near))
    ]
    needed = [sql for name, sql in prepared.items() if any(f"EXECUTE {name}" in message for message in messages)]
    return Logged(needed, messages)


def _log_all(bench: Bench, everything: bool) -> None:
    change = "SET log_min_duration_statement = 0" if everything else "RESET log_min_duration_statement"
    bench.rows(f"ALTER SYSTEM {change}")
    bench.rows("SELECT pg_reload_conf()")
    time.sleep(1)
