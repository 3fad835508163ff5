"""The conformance suite of source kinds: what the runner relies on, asked of every kind.

A kind has a case: settings under which it emits ``records`` records and ends, and what of a record differs each time
that it is read. ``tests/unit/test_source_kinds.py`` runs the suite over every kind that bootstrap registers.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from gristmill.sources.batching import Batcher
from gristmill.sources.port import Pace, Position, Read, SourceKind

Json = dict[str, Any]
# Seconds within which a kind of a case has emitted everything.
LIMIT = 20.0
# How much later than asked a busy machine may answer.
SLACK = 1.0


@dataclass(frozen=True)
class KindCase:
    """settings: of a source that emits ``records`` records and ends, soon. idle: settings of one that has nothing ready
    for a while after it was opened. changing: fields that are not the same when a record is read again.
    """

    make: Callable[[Json], SourceKind[Any]]
    settings: Json
    records: int
    idle: Json
    changing: frozenset[str] = field(default_factory=frozenset)


class TestPace:
    """A pace without a batch in hand: ``patience`` as the runner has it then, and a bound for ``wait``."""

    __test__ = False

    def __init__(self, most: int = 100, patience: float = 0.1) -> None:
        self.most = most
        self.patience = patience
        self.waited: list[float] = []

    def wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        time.sleep(min(max(0.0, seconds), self.patience))


@dataclass(frozen=True)
class Item:
    """One record and the position after the read that it came in."""

    record: Json
    position: Json


class Conformance:
    """Checks one kind. Each method raises AssertionError with what is wrong."""

    def __init__(self, case: KindCase) -> None:
        self.case = case

    def read_all(self, position: Position = None, pace: Pace | None = None) -> list[Item]:
        """Read from ``position`` to the end, without the fields that change."""
        pace = pace or TestPace()
        kind = self.case.make(self.case.settings)
        found: list[Item] = []
        deadline = time.monotonic() + LIMIT
        for read in kind.open(position, pace):
            assert time.monotonic() < deadline, f"not at the end within {LIMIT} s: {len(found)} records"
            if read is not None:
                assert read.items <= pace.most, f"a read of {read.items} items: at most {pace.most} were asked for"
                assert read.age >= 0
                found += self._items(read)
        return found

    def _items(self, read: Read) -> list[Item]:
        records = read.records.to_pylist() if isinstance(read.records, pa.Table) else read.records
        position = json.loads(json.dumps(read.position))
        return [
            Item({name: value for name, value in one.items() if name not in self.case.changing}, position)
            for one in records
        ]

    def ends_with_all_records(self) -> None:
        assert len(self.read_all()) == self.case.records

    def goes_on_from_each_position_without_gap_or_repeat(self) -> None:
        """As a position stands in Postgres: it has been through JSON."""
        first = self.read_all()
        ends = [
            place
            for place, item in enumerate(first, 1)
            if place == len(first) or first[place].position != item.position
        ]
        assert ends[-1] == len(first)
        for place in ends:
            again = self.read_all(first[place - 1].position)
            assert again == first[place:], f"opened after {place} of {len(first)} records"

    def a_read_that_was_not_submitted_comes_again(self) -> None:
        """Its generator was closed with reads in hand; another one begins at the position before them."""
        kind = self.case.make(self.case.settings)
        reader = kind.open(None, TestPace())
        reads = self._some(reader, 3)
        reader.close()
        position = json.loads(json.dumps(reads[0].position))
        taken = len(self._items(reads[0]))
        assert self.read_all(position) == self.read_all()[taken:]

    def _some(self, reader: Any, number: int) -> list[Read]:
        found: list[Read] = []
        deadline = time.monotonic() + LIMIT
        while len(found) < number:
            assert time.monotonic() < deadline, f"no {number} reads within {LIMIT} s"
            read = next(reader)
            if read is not None:
                found.append(read)
        return found

    def gives_the_word_back_while_nothing_is_ready(self) -> None:
        kind = self.case.make(self.case.idle)
        pace = TestPace(patience=0.05)
        reader = kind.open(None, pace)
        try:
            for _ in range(3):
                began = time.monotonic()
                assert next(reader) is None
                assert time.monotonic() - began <= pace.patience + SLACK
        finally:
            reader.close()

    def closes_wherever_it_stands(self) -> None:
        """Before it was begun, while it waits, and with reads in hand; closing twice does no harm."""
        for settings, reads in ((self.case.settings, 0), (self.case.idle, 0), (self.case.settings, 2)):
            kind = self.case.make(settings)
            reader = kind.open(None, TestPace(patience=0.01))
            if settings is self.case.idle:
                next(reader)
            self._some(reader, reads)
            reader.close()
            reader.close()
            kind.backlog()

    def its_reads_become_batches_of_the_size_that_was_asked_for(self) -> None:
        """And whoever opens the position of a batch gets what comes after that batch."""
        kind = self.case.make(self.case.settings)
        batcher, largest = Batcher(4, 60), 0
        for read in kind.open(None, TestPace(most=4)):
            if read is not None:
                batcher.add(read)
                largest = max(largest, read.items)
        batcher.close()
        batches = batcher.batches()
        sizes = [batch.items for batch in batches]
        assert sum(sizes) == self.case.records
        assert max(sizes) <= 4
        # A read is never cut, so a batch may lack up to a read less one.
        assert all(size > 4 - largest for size in sizes[:-1]), sizes
        rest = self.case.records - sizes[0]
        assert len(self.read_all(json.loads(json.dumps(batches[0].position)))) == rest

    def says_what_is_ready(self) -> None:
        """At any time, from any thread: nothing before it is opened, and never less than nothing."""
        kind = self.case.make(self.case.settings)
        assert kind.backlog().records == 0
        reader = kind.open(None, TestPace())
        for read in reader:
            if read is not None:
                backlog = kind.backlog()
                assert backlog.records >= 0
                assert backlog.seconds >= 0
        assert kind.backlog().records == 0, "the source has ended"

    def its_sample_is_what_it_emits(self) -> None:
        sample = self.case.make(self.case.settings).sample()
        if sample is not None:
            kept = {name for name in sample if name not in self.case.changing}
            assert kept == set(self.read_all()[0].record)

    def describes_its_settings(self) -> None:
        kind = type(self.case.make(self.case.settings))
        schema = kind.Settings.model_json_schema()
        assert {"batch_size", "batch_seconds"} <= set(schema["properties"])
        assert [name for name, one in schema["properties"].items() if not one.get("description")] == []
        assert schema["additionalProperties"] is False
        assert kind.name.replace("_", "").isalnum()
        assert kind.summary.endswith(".")


CHECKS = tuple(
    name
    for name, value in vars(Conformance).items()
    if callable(value) and not name.startswith("_") and name != "read_all"
)
