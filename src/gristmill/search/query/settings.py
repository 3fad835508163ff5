"""Settings of single statements, sent along with them: one round trip to Postgres instead of four.

Statements sent in one message are one transaction, so on a connection in autocommit mode the settings end with the
statement; in a transaction they last until its end.
"""

from collections.abc import Mapping

from gristmill.search.query.effort import MAX_VISITS

Settings = Mapping[str, str | int]

# Compiling to machine code and starting parallel workers take longer than the whole search.
QUICK: Settings = {"jit": "off", "max_parallel_workers_per_gather": 0}
# Comparing every record of a large table is worth all of that.
THOROUGH: Settings = {"jit": "off"}
# A filter or dead rows may use a graph's first candidates up: it then goes on looking, in rounds of ef candidates, up
# to a limit; where that many do not hold enough, comparing every record is cheaper than going on.
GRAPHS: Settings = {
    **QUICK,
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.max_scan_tuples": MAX_VISITS,
    # What was visited and not taken is kept, in up to so many times work_mem, for the next round.
    "hnsw.scan_mem_multiplier": 4,
}


def with_settings(settings: Settings, sql: str) -> str:
    """Return ``sql`` to be sent under ``settings``, whose names and values must be constants."""
    return f"{set_all(settings)};{sql}"


def set_all(settings: Settings) -> str:
    """Return the statements that set ``settings`` for what is sent after them in the same message."""
    return ";".join(f"SET LOCAL {name} = {value}" for name, value in settings.items())
