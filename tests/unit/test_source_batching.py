"""Reads become batches, by size or by seconds; nothing is lost, doubled or put in another order on the way."""

import itertools
import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gristmill.core.http.bodies import ARROW
from gristmill.records.readers.context import MAX_RECORD_BYTES
from gristmill.sources import batching
from gristmill.sources.batching import Batch, Batcher, halves
from gristmill.sources.encoding import MAX_RAW_BYTES, NDJSON, encode_records
from gristmill.sources.figures import WINDOW, RateMeter
from gristmill.sources.port import MalformedItem, Read


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def read(*numbers: int, position: int | None = None, **more: Any) -> Read:
    return Read({"at": numbers[-1] if position is None else position}, [{"n": number} for number in numbers], **more)


def numbers(batch: Batch) -> list[int]:
    return [json.loads(line)["n"] for line in batch.body.splitlines()]


class TestSize:
    def test_a_batch_is_ready_when_it_has_its_records(self) -> None:
        batcher = Batcher(3, 60, Clock())
        for number in range(7):
            batcher.add(read(number))
        assert [(numbers(batch), batch.position) for batch in batcher.batches()] == [
            ([0, 1, 2], {"at": 2}),
            ([3, 4, 5], {"at": 5}),
        ]
        assert batcher.in_hand() == (7, 1000.0)
        assert batcher.in_hand(ready=False) == (1, 1000.0)

    def test_a_read_is_never_cut(self) -> None:
        batcher = Batcher(3, 60, Clock())
        batcher.add(read(0, 1))
        batcher.add(read(2, 3))
        assert [numbers(batch) for batch in batcher.batches()] == [[0, 1]]

    def test_bytes_close_a_batch_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(batching, "MAX_BATCH_BYTES", 20)
        batcher = Batcher(1000, 60, Clock())
        for number in range(6):
            batcher.add(read(number))
        assert [numbers(batch) for batch in batcher.batches()] == [[0, 1, 2], [3, 4, 5]]

    def test_many_ready_batches_are_enough(self) -> None:
        batcher = Batcher(1, 60, Clock())
        for number in range(batching.MOST_READY):
            assert not batcher.full
            batcher.add(read(number))
        assert batcher.full
        assert batcher.due_in() == 0, "a kind is to give the word back"
        batcher.submitted(1)
        assert not batcher.full
        assert numbers(batcher.batches()[0]) == [1]
        batcher.submitted(batching.MOST_READY - 1)
        assert not batcher.ready
        assert batcher.in_hand() == (0, None)

    def test_one_that_is_ready_does_not_wait_long_for_others(self) -> None:
        """A kind that always has something soon would keep it for sixteen batches."""
        clock = Clock()
        batcher = Batcher(2, 60, clock)
        batcher.add(read(0, 1))
        batcher.add(read(2))
        assert not batcher.full
        clock.now += batching.READY_SECONDS + 0.001
        assert batcher.full
        batcher.submitted(1)
        assert not batcher.full
        batcher.add(read(3))
        assert not batcher.full


class TestSeconds:
    def test_they_count_from_the_first_record_of_the_batch(self) -> None:
        clock = Clock()
        batcher = Batcher(100, 5, clock)
        clock.now += 60
        assert batcher.due_in() is None
        batcher.add(read(0))
        clock.now += 4
        batcher.add(read(1))
        assert batcher.due_in() == 1
        batcher.close_due()
        assert not batcher.ready
        clock.now += 1
        batcher.close_due()
        assert [numbers(batch) for batch in batcher.batches()] == [[0, 1]]
        batcher.submitted(1)
        assert batcher.due_in() is None

    def test_the_age_of_a_record_that_waited_in_its_source_counts_for_the_lag_and_not_for_the_batch(self) -> None:
        clock = Clock()
        batcher = Batcher(100, 5, clock)
        batcher.add(read(0, age=30))
        assert batcher.due_in() == 5
        assert batcher.in_hand() == (1, 970.0)


class TestContent:
    def test_tables_stay_tables_and_do_not_mix_with_others(self) -> None:
        batcher = Batcher(100, 5, Clock())
        batcher.add(Read({"at": 1}, pa.table({"n": [0, 1]})))
        batcher.add(Read({"at": 2}, pa.table({"n": [2]})))
        batcher.add(Read({"at": 3}, pa.table({"m": [3]})))
        batcher.add(read(4))
        batcher.add(read(5))
        batcher.close()
        batches = batcher.batches()
        assert [(batch.media_type, batch.records, batch.position) for batch in batches] == [
            (ARROW, 3, {"at": 2}),
            (ARROW, 1, {"at": 3}),
            (NDJSON, 2, {"at": 5}),
        ]
        with pa.ipc.open_stream(batches[0].body) as stream:
            assert stream.read_all().to_pydict() == {"n": [0, 1, 2]}

    def test_malformed_items_are_rejects_behind_the_records_with_their_place(self) -> None:
        batcher = Batcher(100, 5, Clock())
        batcher.add(Read({"at": 1}, [{"n": 0}], [MalformedItem("offset 17", b"\xff", "no JSON")]))
        batcher.add(read(2))
        batcher.close()
        (batch,) = batcher.batches()
        assert numbers(batch) == [0, 2]
        (reject,) = batch.rejects
        assert (reject.record, reject.raw) == (2, b"\xff")
        assert (reject.violations[0].code, reject.violations[0].reason) == ("malformed_item", "offset 17: no JSON")
        assert batch.items == 3

    def test_a_batch_may_be_of_malformed_items_alone(self) -> None:
        batcher = Batcher(2, 5, Clock())
        batcher.add(Read({"at": 1}, malformed=[MalformedItem("1", b"a", "bad"), MalformedItem("2", b"b", "bad")]))
        (batch,) = batcher.batches()
        assert (batch.body, batch.records, len(batch.rejects)) == (b"", 0, 2)

    def test_an_empty_read_moves_nothing(self) -> None:
        batcher = Batcher(2, 5, Clock())
        batcher.add(Read({"at": 1}))
        batcher.close()
        assert not batcher.ready

    def test_a_record_that_is_no_json_or_too_large_is_refused_and_the_others_are_not(self) -> None:
        cycle: dict[str, Any] = {}
        cycle["self"] = cycle
        records = [{"n": 1}, {"n": object()}, {"n": "\ud800"}, cycle, {"n": "x" * MAX_RECORD_BYTES}, {"n": 2}]
        lines, refused = encode_records(records)
        assert [json.loads(line) for line in lines] == [{"n": 1}, {"n": 2}]
        assert [item.place for item in refused] == [f"record {number} of a read" for number in (1, 2, 3, 4)]
        batcher = Batcher(100, 5, Clock())
        batcher.add(Read({"at": 1}, records))
        batcher.close()
        assert all(len(one.raw) <= MAX_RAW_BYTES for batch in batcher.batches() for one in batch.rejects)


STEPS = st.lists(st.tuples(st.integers(1, 5), st.floats(0, 3), st.integers(0, 2)), max_size=40)


class TestAnyReads:
    @given(STEPS, st.integers(1, 7), st.floats(0.01, 5))
    def test_batches_are_the_reads_in_their_order(
        self, steps: list[tuple[int, float, int]], size: int, seconds: float
    ) -> None:
        """However many records come at once, whenever: none is lost or doubled, and no batch is too large or late."""
        clock, counter = Clock(), itertools.count()
        batcher, reads = Batcher(size, seconds, clock), dict[int, int]()
        batches: list[Batch] = []
        emitted = 0
        for records, pause, what in steps:
            clock.now += pause
            batcher.close_due()
            left = batcher.due_in()
            assert left is None or batcher.ready or left > 0, "a batch that is due is closed"
            if what == 2:
                batches += batcher.batches()
                batcher.submitted(len(batcher.batches()))
            one = read(*itertools.islice(counter, records))
            emitted += records
            reads[emitted - records] = records
            batcher.add(one)
        batcher.close()
        batches += batcher.batches()
        assert [number for batch in batches for number in numbers(batch)] == list(range(emitted))
        for batch in batches:
            found = numbers(batch)
            assert batch.position == {"at": found[-1]}
            assert len(found) <= size or reads[found[0]] == len(found), (
                "only a read that is larger by itself is too large"
            )


class TestRate:
    def test_it_is_that_of_the_window(self) -> None:
        clock = Clock()
        meter = RateMeter(clock=clock)
        for _ in range(30):
            clock.now += 1
            meter.add(10)
        assert meter.rate() == pytest.approx(10, rel=0.15)
        clock.now += WINDOW + 1
        assert meter.rate() == 0

    def test_it_is_not_too_high_at_the_beginning(self) -> None:
        clock = Clock()
        meter = RateMeter(clock=clock)
        meter.add(10)
        assert meter.rate() == 10


class TestCutting:
    def test_halves_have_the_items_of_their_reads_and_the_position_after_them(self) -> None:
        batcher = Batcher(100, 60, Clock())
        bad = [MalformedItem(f"item {number}", b"raw", "bad") for number in range(3)]
        batcher.add(read(0, 1))
        batcher.add(Read({"at": 2}, [{"n": 2}, {"n": object()}], [bad[0]]))
        batcher.add(Read({"at": 3}, [], [bad[1]]))
        batcher.add(Read({"at": 4}, [{"n": 4}], [bad[2]]))
        batcher.close()
        assert batcher.cut()
        first, second = batcher.batches()
        assert (numbers(first), first.position, [one.record for one in first.rejects]) == ([0, 1, 2], {"at": 2}, [3, 4])
        assert (numbers(second), second.position) == ([4], {"at": 4})
        assert [(one.record, one.raw) for one in second.rejects] == [(1, b"raw"), (2, b"raw")]
        assert batcher.in_hand() == (8, 1000.0)
        batcher.submitted(2)
        assert batcher.in_hand() == (0, None)

    def test_tables_are_cut_between_reads_too(self) -> None:
        batcher = Batcher(100, 60, Clock())
        for start in (0, 3, 6):
            batcher.add(Read({"at": start}, pa.table({"n": [start, start + 1, start + 2]})))
        batcher.close()
        cut = halves(batcher.batches()[0])
        assert cut is not None
        found = [pa.ipc.open_stream(batch.body).read_all()["n"].to_pylist() for batch in cut]
        assert (found, [batch.records for batch in cut]) == ([[0, 1, 2], [3, 4, 5, 6, 7, 8]], [3, 6])
        assert [batch.position for batch in cut] == [{"at": 0}, {"at": 6}]

    def test_one_of_a_single_read_stays_as_it_is(self) -> None:
        batcher = Batcher(2, 60, Clock())
        batcher.add(read(0, 1))
        assert not batcher.cut()
        assert [numbers(batch) for batch in batcher.batches()] == [[0, 1]]

    def test_later_batches_are_no_larger(self) -> None:
        batcher = Batcher(10, 60, Clock())
        for number in range(10):
            batcher.add(read(number))
        assert batcher.cut()
        for number in range(10, 20):
            batcher.add(read(number))
        assert [len(numbers(batch)) for batch in batcher.batches()] == [5, 5, 5, 5]
        assert list(itertools.chain(*map(numbers, batcher.batches()))) == list(range(20))
