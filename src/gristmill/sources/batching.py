"""Batches: reads are collected until there are enough records, or enough time has gone by. Once, for all kinds."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

import pyarrow as pa

from gristmill.core.http.bodies import ARROW
from gristmill.records.reject import Reject
from gristmill.sources.encoding import NDJSON, encode_records, encode_table, rejects_of
from gristmill.sources.port import MalformedItem, Read

# A batch is closed at this size whatever it may have: one chunk, and little memory for any number of batches in hand.
MAX_BATCH_BYTES = 4 * 1024 * 1024
# Batches that are ready share a commit up to this many, and up to so many bytes of them.
MOST_READY = 16
MOST_READY_BYTES = 1024 * 1024
# Seconds that a batch which is ready waits for others.
READY_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Part:
    """What one read has added to a batch: so many records and malformed items. position: the one after the read."""

    records: int
    malformed: int
    position: dict[str, object]


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one job, as a body of ``media_type``. malformed: the items among them that are no records.

    position: where the source goes on after it. oldest: when its first record was ready, by the monotonic clock.
    parts: its reads, in their order; it can be cut between them.
    """

    body: bytes
    media_type: str
    records: int
    malformed: tuple[MalformedItem, ...]
    position: dict[str, object]
    oldest: float
    parts: tuple[Part, ...] = ()

    @property
    def items(self) -> int:
        return self.records + len(self.malformed)

    @property
    def rejects(self) -> tuple[Reject, ...]:
        return tuple(rejects_of(self.malformed, self.records))


def as_lines(batch: Batch) -> Batch:
    """Return a batch of a table as one of JSON texts."""
    lines, unfit = encode_records(_table(batch).to_pylist())
    malformed = (*batch.malformed, *unfit)
    return replace(batch, body=b"\n".join(lines), media_type=NDJSON, records=len(lines), malformed=malformed, parts=())


def halves(batch: Batch) -> tuple[Batch, Batch] | None:
    """Return a batch as two, each of half of its reads; None for one of a single read."""
    middle = len(batch.parts) // 2
    if not middle:
        return None
    parts, others = batch.parts[:middle], batch.parts[middle:]
    records, malformed = sum(part.records for part in parts), sum(part.malformed for part in parts)
    if batch.media_type == ARROW:
        table = _table(batch)
        body, rest = encode_table(table.slice(0, records)), encode_table(table.slice(records))
    else:
        lines = batch.body.split(b"\n") if batch.records else []
        body, rest = b"\n".join(lines[:records]), b"\n".join(lines[records:])
    first, second = batch.malformed[:malformed], batch.malformed[malformed:]
    return (
        Batch(body, batch.media_type, records, first, parts[-1].position, batch.oldest, parts),
        Batch(rest, batch.media_type, batch.records - records, second, batch.position, batch.oldest, others),
    )


def _table(batch: Batch) -> pa.Table:
    with pa.ipc.open_stream(batch.body) as stream:
        return stream.read_all()


class _Open:
    """The batch that is being collected."""

    def __init__(self, now: float) -> None:
        self.began = self.oldest = now
        self.lines: list[bytes] = []
        self.tables: list[pa.Table] = []
        self.malformed: list[MalformedItem] = []
        self.parts: list[Part] = []
        self.items = self.bytes = 0
        self.position: dict[str, object] = {}

    def fits(self, read: Read) -> bool:
        """Say whether a read has the same form: JSON lines and tables, or tables of two schemas, do not mix."""
        if not len(read.records):
            return True
        if isinstance(read.records, pa.Table):
            return not self.lines and (not self.tables or self.tables[0].schema.equals(read.records.schema))
        return not self.tables

    def add(self, read: Read) -> None:
        refused = list(read.malformed)
        if isinstance(read.records, pa.Table):
            if read.records.num_rows:
                self.tables.append(read.records)
                self.bytes += read.records.nbytes
        else:
            lines, unfit = encode_records(read.records)
            self.lines += lines
            self.bytes += sum(map(len, lines))
            refused += unfit
        self.malformed += refused
        self.bytes += sum(len(item.raw) for item in refused)
        self.items += read.items
        self.position = read.position
        self.parts.append(Part(read.items - len(refused), len(refused), read.position))

    def close(self) -> Batch:
        if self.tables:
            table = pa.concat_tables(self.tables)
            body, media_type, records = encode_table(table), ARROW, table.num_rows
        else:
            body, media_type, records = b"\n".join(self.lines), NDJSON, len(self.lines)
        return Batch(body, media_type, records, tuple(self.malformed), self.position, self.oldest, tuple(self.parts))


class Batcher:
    """Collects reads. size: items of a batch. seconds: from its first item on until it is closed, by ``clock``.

    A read is never cut, so a batch is closed before one that would make it too large.
    """

    def __init__(self, size: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.size = size
        self._seconds = seconds
        self._clock = clock
        self._open: _Open | None = None
        self._ready: deque[Batch] = deque()
        self._ready_bytes = self._ready_items = 0
        self._ready_since = 0.0

    def add(self, read: Read) -> None:
        """Take a read into the batch in hand. One without items has nothing to submit and is passed over."""
        if not read.items:
            return
        if self._open is not None and (self._open.items + read.items > self.size or not self._open.fits(read)):
            self.close()
        if self._open is None:
            self._open = _Open(self._clock())
        self._open.oldest = min(self._open.oldest, self._clock() - read.age)
        self._open.add(read)
        if self._open.items >= self.size or self._open.bytes >= MAX_BATCH_BYTES:
            self.close()

    def close_due(self) -> None:
        """Close the batch in hand if its time has come."""
        if self._open is not None and self._clock() >= self._open.began + self._seconds:
            self.close()

    def close(self) -> None:
        """Close the batch in hand, if there is one."""
        if self._open is not None:
            batch = self._open.close()
            self._open = None
            if not self._ready:
                self._ready_since = self._clock()
            self._ready.append(batch)
            self._ready_bytes += len(batch.body)
            self._ready_items += batch.items

    def due_in(self) -> float | None:
        """Return the seconds until a batch is due, or None without one."""
        if self._ready:
            return 0.0
        if self._open is None:
            return None
        return max(0.0, self._open.began + self._seconds - self._clock())

    @property
    def ready(self) -> bool:
        return bool(self._ready)

    @property
    def full(self) -> bool:
        """Whether as many batches are ready as may share a commit, or one has waited for others long enough."""
        many = len(self._ready) >= MOST_READY or self._ready_bytes >= MOST_READY_BYTES
        return many or (self.ready and self._clock() - self._ready_since >= READY_SECONDS)

    def batches(self) -> list[Batch]:
        """Return the batches that are ready, in their order. They stay in hand until ``submitted`` is called."""
        return list(self._ready)

    def submitted(self, number: int) -> None:
        """Let go of the first ``number`` batches that are ready."""
        for _ in range(number):
            batch = self._ready.popleft()
            self._ready_bytes -= len(batch.body)
            self._ready_items -= batch.items

    def cut(self) -> bool:
        """Cut the first batch that is ready in two, and let none that is closed from now on have more than half of it.

        Returns False where it is of one read, and stays as it is.
        """
        batch = self._ready[0]
        cut = halves(batch)
        if cut is None:
            return False
        self._ready[0] = cut[1]
        self._ready.appendleft(cut[0])
        self._ready_bytes += len(cut[0].body) + len(cut[1].body) - len(batch.body)
        self.size = min(self.size, max(1, batch.items // 2))
        return True

    def in_hand(self, *, ready: bool = True) -> tuple[int, float | None]:
        """Return how many items are in hand, and when the oldest was ready, by the clock; None without any.

        ready: count the batches that are ready, and not only the one that is being collected.
        """
        opened = self._open
        moments = [batch.oldest for batch in tuple(self._ready)] if ready else []
        items = self._ready_items if ready else 0
        if opened is not None:
            moments.append(opened.oldest)
            items += opened.items
        return items, min(moments, default=None)
