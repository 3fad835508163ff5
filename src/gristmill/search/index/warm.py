"""Reads indexes into memory: a new one before searches use it, all of them after a restart of Postgres."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy.exc import DBAPIError

from gristmill.core.database import Database
from gristmill.core.errors import Contended
from gristmill.core.logs import get_logger
from gristmill.search.repository import warming

log = get_logger()
# Read by one statement. A short one: a build that waits for all older transactions, and whoever drops the table, do not
# wait for a whole index.
PART_BYTES = 32 * 1024**2
# Seconds for one index. A disk that takes longer for it does not get faster by waiting.
MOST_SECONDS = 60.0
# Of shared_buffers: what indexes may fill. The rest is for the tables, and for what is being written.
BUFFERS_SHARE = 2

Mode = Literal["buffer", "read"]


@dataclass(frozen=True, slots=True)
class Memory:
    """In bytes: what Postgres has for itself (shared_buffers), the same with what the system keeps of its files
    (effective_cache_size), and a block.
    """

    buffers: int
    cache: int
    block: int = 8192


@dataclass(frozen=True, slots=True)
class Reading:
    """What is read of an index: its first ``size`` bytes. mode: into Postgres' buffers, or into the system's cache."""

    index: str
    mode: Mode
    size: int


@dataclass(frozen=True, slots=True)
class Warmed:
    """What was read."""

    indexes: int = 0
    size: int = 0


def plan(sizes: Sequence[tuple[str, int]], memory: Memory) -> list[Reading]:
    """Say how indexes, given with their bytes, are read: in their order, as long as there is memory for them.

    One that fits in what is left of half of the buffers goes there. A larger one would drive out of them what was read
    before, itself included: it is read into the system's cache, from which a page is had without the disk. That read
    waits for the disk; asking the system to fetch pages in advance would end before they are there. Of the last one the
    first part is read: which pages of a graph a search needs is a matter of chance, so half of them saves half.
    """
    buffers, cache = memory.buffers // BUFFERS_SHARE, memory.cache
    found: list[Reading] = []
    for index, size in sizes:
        if cache <= 0:
            break
        mode: Mode = "buffer" if size <= min(buffers, cache) else "read"
        buffers -= size if mode == "buffer" else 0
        whole = min(size, cache) // memory.block * memory.block
        if whole:
            found.append(Reading(index, mode, whole))
        cache -= size
    return found


class IndexWarmer:
    """Reads indexes by the extension pg_prewarm; where that is not installed it reads nothing, and says so once."""

    def __init__(self, database: Database, seconds: float = MOST_SECONDS) -> None:
        """seconds: most time for one index."""
        self._database = database
        self._seconds = seconds
        self._said = False

    def is_possible(self) -> bool:
        """Say whether this Postgres can read indexes on request; log once if it cannot. Raises DatabaseUnavailable."""
        return self._function() is not None

    def _function(self) -> str | None:
        with self._database.autocommit() as connection:
            found = warming.find_function(connection)
        if found is None and not self._said:
            self._said = True
            log.warning(
                "index.not_warmed",
                reason="The extension pg_prewarm is not installed in the database, or may not be used: new indexes, and"
                " all after a restart, are read when searches first need them",
            )
        return found

    def warm(
        self,
        names: Sequence[str],
        check: Callable[[], None] = lambda: None,
        report: Callable[[float], None] = lambda fraction: None,
    ) -> Warmed:
        """Read the indexes in this order, as far as there is memory; return what was read.

        ``check`` is called about every second; what it raises ends it. One that is not there (any more), or that
        Postgres refuses, is left out. Raises DatabaseUnavailable.
        """
        function = self._function() if names else None
        if function is None:
            return Warmed()
        with self._database.autocommit() as connection:
            memory = Memory(*warming.memory_bytes(connection))
            sizes = warming.index_bytes(connection, names)
        readings = plan([(name, sizes[name]) for name in names if name in sizes], memory)
        total, done, count = sum(reading.size for reading in readings), 0, 0
        for reading in readings:
            read = self._read(function, reading, memory.block, check)
            count += read > 0
            done += read
            report(done / total)
        return Warmed(count, done)

    def warm_all(self, check: Callable[[], None], report: Callable[[float], None]) -> Warmed:
        """Read the indexes of all ready segments, those of the most searched dataset first. As ``warm`` otherwise."""
        with self._database.autocommit() as connection:
            names = warming.ready_by_use(connection)
        return self.warm(names, check, report)

    def _read(self, function: str, reading: Reading, block: int, check: Callable[[], None]) -> int:
        """Read one index and return how many bytes of it were read."""
        began, at = time.monotonic(), 0
        reason = None
        while at < reading.size and reason is None:
            check()
            end = min(at + PART_BYTES, reading.size)
            try:
                with self._database.autocommit() as connection:
                    warming.read(connection, function, reading.index, reading.mode, at // block, end // block - 1)
            except (DBAPIError, Contended) as error:
                # It was dropped meanwhile, or grew smaller, or somebody cancelled the statement.
                reason = (str(error).strip().splitlines() or ["no message"])[0]
            else:
                at = end
                late = at < reading.size and time.monotonic() - began > self._seconds
                reason = "it takes too long" if late else None
        seconds = round(time.monotonic() - began, 3)
        facts = {"mode": reading.mode, "bytes": at, "of": reading.size, "seconds": seconds}
        log.info("index.warmed", index=reading.index, **facts, **({} if reason is None else {"reason": reason}))
        return at
