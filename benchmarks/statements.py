"""The SQL that the API sends, as Postgres' log shows it, to be sent again by hand."""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.figures import Times
from benchmarks.harness import Bench
from gristmill.search.query.vector import MAX_EF

_ENTRY = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", re.MULTILINE)
_STATEMENT = re.compile(r"LOG:  duration: [\d.]+ ms  statement: (.*)", re.DOTALL)
_PREPARED = re.compile(r"DETAIL:  prepare: (PREPARE (\w+).*)", re.DOTALL)


@dataclass(frozen=True)
class Logged:
    """preparations: the PREPARE of each name that a message executes. messages: as they were sent, in order."""

    preparations: list[str]
    messages: list[str]


def logged(bench: Bench, act: Callable[[], None], part: str, wanted: int, before: Sequence[str] = ()) -> Logged:
    """Return the messages with a statement that contains ``part``, prepared or not, that were sent while ``act`` ran.

    before: what was prepared before ``act``. Of a message that executes several statements, Postgres' log has the text
    of the first alone. Raises RuntimeError if there are fewer than ``wanted`` of them in the log.
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
            found = _read(text, part, before)
            if len(found.messages) >= wanted:
                return found
            if time.monotonic() > deadline:
                raise RuntimeError(f"{len(found.messages)} of {wanted} statements are in the log")
            time.sleep(0.1)


def beside_raw(
    bench: Bench, dataset: str, vectors: Sequence[list[float]], ef: int, k: int, rounds: int
) -> tuple[Times, Times]:
    """Return the times of searches over HTTP, and of the statements that the API sends for them, sent by hand.

    Of searches with ``ef`` and one more, or one less where it is the largest: it is a statement that no connection has
    prepared yet, so that the log has its text. All queries go one way, then the other, in turn: what the machine does
    meanwhile befalls both. Raises RuntimeError where a statement does not find ``k`` rows.
    """
    near = ef + 1 if ef < MAX_EF else ef - 1
    bodies = [json.dumps({"vector": vector, "k": k, "ef": near}) for vector in vectors]
    path = f"/datasets/{dataset}/search"
    first = logged(bench, lambda: _post(bench, path, bodies[:1]), "<=>", 1)
    found = logged(bench, lambda: _post(bench, path, bodies), "<=>", len(bodies), first.preparations)
    messages = found.messages[-len(bodies) :]
    served: list[float] = []
    raw: list[float] = []
    with bench.connect() as connection, connection.cursor() as cursor:
        for preparation in found.preparations:
            cursor.execute(preparation)
        _raw(cursor, messages, k)
        for _ in range(rounds):
            served += bench.post(path, bodies, requests=len(bodies)).times
            raw += _raw(cursor, messages, k)
    return Times.of(served), Times.of(raw)


def _raw(cursor: Any, messages: Sequence[str], k: int) -> list[float]:
    times = []
    for text in messages:
        began = time.perf_counter()
        cursor.execute(text)
        hits = cursor.fetchall()
        times.append((time.perf_counter() - began) * 1000)
        if len(hits) != k:
            raise RuntimeError(f"the statement run raw found {len(hits)} rows: {text[:300]}")
    return times


def _post(bench: Bench, path: str, bodies: Sequence[str]) -> None:
    bench.post(path, list(bodies), requests=len(bodies))


def _read(text: str, part: str, before: Sequence[str]) -> Logged:
    starts = [match.start() for match in _ENTRY.finditer(text)]
    entries = [
        text[start:end].replace("\n\t", "\n").strip()
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True)
    ]
    prepared = {match[2]: match[1] for entry in entries if (match := _PREPARED.search(entry))}
    sent = [match[1] for entry in entries if (match := _STATEMENT.search(entry))]
    prepared |= {sql.split(maxsplit=2)[1]: sql for sql in (*before, *sent) if sql.startswith("PREPARE ")}
    near = [name for name, sql in prepared.items() if part in sql]
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
